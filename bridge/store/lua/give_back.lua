#!lua flags=allow-oom
-- Give a claimed delivery back unattempted, for a reason of ours: neither an attempt nor a claim is counted. A probe ahead
-- of its time is due when it was, and the next probe is no sooner than what was given back is to be tried again.
-- ARGV  endpoint, event id, token, delay ms
-- Reply 'ok' or 'stale'
local endpoint, event_id = ARGV[1], ARGV[2]
local leases, entry = P .. 'leases:' .. endpoint, event_id .. '/' .. ARGV[3]
local lease_end, again = redis.call('ZSCORE', leases, entry), now + tonumber(ARGV[4])
if not lease_end then return 'stale' end
local _, early = ahead_of_time(endpoint, record_of(endpoint, event_id), ARGV[3], lease_end)
redis.call('ZREM', leases, entry)
redis.call('ZADD', P .. 'queue:' .. endpoint, math.max(early or 0, again), event_id)
local key = P .. 'endpoint:' .. endpoint
local state, probe_at = unpack(redis.call('HMGET', key, 'state', 'probe_at'))
if state == 'held' and whole(probe_at, 0, 0, 1e14) < again then redis.call('HSET', key, 'probe_at', again) end
refresh(endpoint)
return 'ok'
