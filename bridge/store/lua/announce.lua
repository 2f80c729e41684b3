#!lua
-- A task registered again has not changed: owe its current event to each matching endpoint that has no delivery of it.
-- ARGV  1 member, 2 token, 3 version of the endpoint set, 4 delay ms (below 0: ended), 5 event id, 6 endpoints a step,
--       then endpoint names up to the last but one argument
-- Steps: token; version of the endpoint set; the event is the snapshot's; then owe it, behind whatever is still being
--   handed out (first attempts stay in revision order), and the task's next moment.
-- Reply 'ok', 'stale', 'removed' or 'changed', as commit
local member, token, event_id = ARGV[1], ARGV[2], ARGV[5]
local word = standing(member, token)
if word ~= 'ok' then return word end
if (redis.call('HGET', P .. 'meta', 'endpoints_version') or '0') ~= ARGV[3] then return 'changed' end
if redis.call('HGET', P .. 'snapshot:' .. member, 'event_id') ~= event_id then return 'stale' end
local event = redis.call('HMGET', P .. 'event:' .. event_id, 'type', 'revision')
local endpoints = {}
for i = 7, #ARGV - 1 do endpoints[#endpoints + 1] = ARGV[i] end
if event[1] and owe_all(endpoints, tonumber(ARGV[6]), event_id, member, event[1], event[2]) then wake('deliver') end
redis.call('HSET', P .. 'watch:' .. member, 'polled_at', now, 'faults', 0, 'absences', 0, 'absent_since', '',
  'doubt', '', 'doubted_at', '', 'error', '')
announced(member)
rest(member, ARGV[4])
return 'ok'
