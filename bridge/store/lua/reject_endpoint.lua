#!lua
-- Refuse a client's definition of an endpoint: its last good one is written back, without one the field goes.
-- A definition in force that a change of our own settings made bad stays in force (the guard judges each dial anyway):
-- a forgotten setting must not cancel what is owed.
-- ARGV  name, the client's JSON, its field in bridge:rejected, reason JSON, bound on bridge:rejected
-- Steps: nothing if the client changed it meanwhile; remember why, and whether that is about the definition in force.
-- Reply 'restored', 'deleted', 'kept', or 'moved' when the client changed it meanwhile
local name, raw, field, reason, bound = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
if redis.call('HGET', P .. 'endpoints', name) ~= raw then return 'moved' end
local key = P .. 'endpoint:' .. name
local known = redis.call('HMGET', key, 'raw', 'state')
remember_rejection(field, reason, bound)
redis.call('HDEL', key, 'kept')
if known[1] == raw and known[2] ~= 'removed' then
  redis.call('HSET', key, 'kept', 1)
  return 'kept'
end
if known[1] and known[1] ~= '' and known[2] ~= 'removed' then
  redis.call('HSET', P .. 'endpoints', name, known[1])
  return 'restored'
end
redis.call('HDEL', P .. 'endpoints', name)
return 'deleted'
