#!lua flags=allow-oom
-- A definition in bridge:registry cannot be read: somebody wrote over it. Take the one that the endpoint's hash keeps, or
-- else forget it, and intake takes the client's anew.
-- ARGV  name, what stands there
-- Steps: nothing if it was put right meanwhile; the version of the set moves on.
-- Reply 'moved', 'restored' or 'forgotten'
local name, text = ARGV[1], ARGV[2]
local key = P .. 'endpoint:' .. name
if redis.call('HGET', P .. 'registry', name) ~= text then return 'moved' end
endpoints_moved()
local kept = redis.pcall('HGET', key, 'config')
if type(kept) == 'string' and kept ~= text then
  redis.call('HSET', P .. 'registry', name, kept)
  return 'restored'
end
redis.call('HDEL', P .. 'registry', name)
redis.pcall('HDEL', key, 'config', 'digest')
return 'forgotten'
