#!lua
-- A task registered again has not changed: owe its current event to each matching endpoint that has no delivery of it.
-- ARGV  1 member, 2 token, 3 version of the endpoint set, 4 delay ms (below 0: ended), 5 event id,
--       then endpoint names up to the last but one argument
-- Reply 'ok', 'stale', 'removed' or 'changed', as commit
local member, token, event_id = ARGV[1], ARGV[2], ARGV[5]
local word = standing(member, token)
if word ~= 'ok' then return word end
if (redis.call('HGET', P .. 'meta', 'endpoints_version') or '0') ~= ARGV[3] then return 'changed' end
local event = redis.call('HMGET', P .. 'event:' .. event_id, 'type', 'revision')
if event[1] then
  local record = cjson.encode({task = member, type = event[1], revision = event[2], created = now, attempts = 0,
    state = 'pending'})
  local owed = 0
  for i = 6, #ARGV - 1 do owed = owed + owe(ARGV[i], event_id, member, record) end
  if owed > 0 then wake('deliver') end
end
redis.call('HSET', P .. 'watch:' .. member, 'polled_at', now, 'faults', 0, 'absences', 0, 'absent_since', '',
  'doubt', '', 'doubted_at', '', 'error', '')
announced(member)
rest(member, tonumber(ARGV[4]))
return 'ok'
