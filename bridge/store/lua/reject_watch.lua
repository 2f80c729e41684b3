#!lua
-- Refuse a client's watch: its last good text is written back, without one the field goes. One that is in force, and that a
-- change of our own settings made bad, stays, and finds nothing until it is good again.
-- ARGV  token, field, text, its field in bridge:rejected, reason JSON, bound on bridge:rejected
-- Reply 'restored', 'deleted', 'kept', 'stale' (somebody else finds), or 'moved' (the client changed it meanwhile)
local finding, watches, name, raw = P .. 'finding', P .. 'watches', ARGV[2], ARGV[3]
if redis.call('HGET', finding, 'token') ~= ARGV[1] then return 'stale' end
if redis.call('HGET', watches, name) ~= raw then return 'moved' end
local good = redis.call('HGET', finding, 'text:' .. name)
remember_rejection(ARGV[4], ARGV[5], tonumber(ARGV[6]))
if good == raw then return 'kept' end
if good then
  redis.call('HSET', watches, name, good)
  return 'restored'
end
redis.call('HDEL', watches, name)
return 'deleted'
