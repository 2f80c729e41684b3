#!lua flags=allow-oom
-- Record what an attempt came to and move its delivery on, in one step. Our lease is the proof that it is ours to say.
-- ARGV  1 endpoint, 2 event id, 3 token, 4 state (pending, delivered, dead), 5 retry in ms, 6 reason,
--       7 effect (success, failure, disable-gone, blocked), 8 pause ms, 9 attempt JSON, 10 attempts kept,
--       11 blocked attempts in a row that disable
-- Steps: lease; attempt count and log; due again, or ended; the next one of this task is promoted after the first
--   attempt (after the end, if ordering is strict); what it means for the endpoint; its next moment.
-- Reply 'ok', 'stale' (the lease ended, or it was settled before), or 'disabled' (ok, and the endpoint now is)
local endpoint, event_id, state, effect = ARGV[1], ARGV[2], ARGV[4], ARGV[7]
local leases = P .. 'leases:' .. endpoint
local entry = event_id .. '/' .. ARGV[3]
local record = record_of(endpoint, event_id)
if record == nil or not redis.call('ZSCORE', leases, entry) then return 'stale' end

record = record or record_from_event(endpoint, event_id) -- overwritten meanwhile; what came of the attempt still counts
record.attempts, record.claims, record.trigger = record.attempts + 1, nil, nil
redis.call('ZREM', leases, entry)
local log = P .. 'attempts:' .. endpoint .. ':' .. event_id
redis.call('RPUSH', log, ARGV[9])
redis.call('LTRIM', log, -tonumber(ARGV[10]), -1)
count('attempts')
if state == 'pending' then
  redis.call('HSET', P .. 'deliveries:' .. endpoint, event_id, cjson.encode(record))
  redis.call('ZADD', P .. 'queue:' .. endpoint, now + tonumber(ARGV[5]), event_id)
else
  finish(endpoint, event_id, record, state, ARGV[6])
end

local key = P .. 'endpoint:' .. endpoint
local known = redis.call('HMGET', key, 'state', 'ordering', 'failures', 'blocked')
if state ~= 'pending' or (known[2] and known[2] ~= 'strict') then promote(endpoint, record.task, event_id) end
if not known[1] then return 'ok' end
if effect == 'success' then
  if (known[3] or '0') ~= '0' or (known[4] or '0') ~= '0' then
    redis.call('HSET', key, 'failures', 0, 'blocked', 0)
    redis.call('HDEL', key, 'failing_since')
  end
else
  redis.call('HINCRBY', key, 'failures', 1)
  redis.call('HSETNX', key, 'failing_since', now)
end
local pause = tonumber(ARGV[8])
if pause > 0 then redis.call('HSET', key, 'paused_until', now + pause) end
local because = nil
if effect == 'disable-gone' then because = 'gone' end
if effect == 'blocked' then
  if redis.call('HINCRBY', key, 'blocked', 1) >= tonumber(ARGV[11]) then because = 'blocked' end
elseif (known[4] or '0') ~= '0' then
  redis.call('HSET', key, 'blocked', 0)
end
local disabled = because and known[1] == 'active'
if disabled then redis.call('HSET', key, 'state', 'disabled', 'reason', because, 'disabled_at', now) end
refresh(endpoint)
return disabled and 'disabled' or 'ok'
