#!lua flags=allow-oom
-- Give a claimed delivery back unattempted, for a reason of ours: neither an attempt nor a claim is counted. A probe ahead
-- of its time is due when it was.
-- ARGV  endpoint, event id, token, delay ms
-- Reply 'ok' or 'stale'
local endpoint, event_id = ARGV[1], ARGV[2]
local leases, entry = P .. 'leases:' .. endpoint, event_id .. '/' .. ARGV[3]
if not redis.call('ZSCORE', leases, entry) then return 'stale' end
redis.call('ZREM', leases, entry)
local record = record_of(endpoint, event_id)
local early = record and tonumber(record.early) or 0
redis.call('ZADD', P .. 'queue:' .. endpoint, math.max(early, now + tonumber(ARGV[4])), event_id)
refresh(endpoint)
return 'ok'
