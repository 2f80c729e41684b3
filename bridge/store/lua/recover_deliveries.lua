#!lua flags=allow-oom
-- with: revive
-- An operator brings dead letters of an endpoint back, a batch a call. The endpoint may be disabled: they are held, then.
-- ARGV  1 endpoint, 2 token of this asking, 3 so much looking at lines, in records, ends a batch early, then event ids, the
--       oldest revision first, up to the last but one argument
-- Steps per event: nothing if it is no dead letter any more, or its body is lost; else it is owed again: attempt numbers
--   go on, the schedule starts anew, and it takes its place in its task's line, or is due, the oldest event first.
-- Reply {word, how many ids were dealt with, recovered, body lost}; words: ok, removed (the endpoint)
local endpoint, token, bound = ARGV[1], ARGV[2], tonumber(ARGV[3])
local key = P .. 'endpoint:' .. endpoint
local state, ordering = unpack(redis.call('HMGET', key, 'state', 'ordering'))
if not state or state == 'removed' then return {'removed', 0, 0, 0} end
local dealt, recovered, lost, fresh = 0, 0, 0, false
for i = 4, #ARGV - 1 do
  if looked >= bound then break end
  local event_id = ARGV[i]
  local record = record_of(endpoint, event_id)
  if record == false then record = record_from_event(endpoint, event_id) end
  local dead = redis.call('ZSCORE', P .. 'dead:' .. endpoint, event_id)
  dealt = dealt + 1
  if record and record.asked == token then
    recovered = recovered + 1 -- this asking was heard before, its reply was lost
  elseif record and dead and not body_of(event_id) then
    lost = lost + 1
  elseif record and dead then
    revive(endpoint, event_id, record, 'recover', token)
    line_up(endpoint, event_id, record, ordering, math.min(tonumber(record.revision), now))
    recovered, fresh = recovered + 1, true
  end
end
if fresh then
  redis.call('HSET', key, 'recovered_at', now)
  refresh(endpoint)
  if state == 'active' then wake('deliver') end
end
return {'ok', dealt, recovered, lost}
