#!lua flags=allow-oom
-- Write a definition over itself with its secrets sealed. To its client, and to the endpoint, nothing has changed: what is
-- disabled stays so, and no failure is forgotten.
-- ARGV  name, the client's JSON as it was read, the same sealed, digests of both, canonical JSON of the sealed one
-- Steps: nothing if somebody changed it meanwhile; where it is the one in force, all that is kept of it is the sealed one,
--   too, and the version of the set moves on, so that everybody reads it. One that is not yet in force is left to intake.
-- Reply 'sealed' (now, or before) or 'moved'
local name, before, after, digest_before, digest_after, config = unpack(ARGV, 1, 6)
local stands = redis.call('HGET', P .. 'endpoints', name)
if stands == after then return 'sealed' end
if stands ~= before then return 'moved' end
redis.call('HSET', P .. 'endpoints', name, after)
local key = P .. 'endpoint:' .. name
if redis.call('HGET', key, 'digest') == digest_before then
  redis.call('HSET', key, 'digest', digest_after, 'raw', after, 'config', config)
  if redis.call('HEXISTS', P .. 'registry', name) == 1 then redis.call('HSET', P .. 'registry', name, config) end
  endpoints_moved()
end
return 'sealed'
