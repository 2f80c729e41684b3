#!lua flags=allow-oom
-- with: revive
-- An operator asks for a delivery to be attempted now.
-- ARGV  1 endpoint, 2 event id, 3 token of this asking, 4 '1' to send also what was delivered or superseded
-- Steps: nothing if this asking was heard before (its reply was lost), the endpoint is gone, the body is lost, or it is
--   being attempted; a pending one in the queue becomes due; one that has ended is owed again: its attempt numbers go
--   on, and its schedule starts anew. Where order asks for it, either takes its place in its task's line: of several
--   that are asked for, each waits for the one before. An endpoint whose breaker is open is probed now: somebody
--   believes that it is back.
-- Reply {word, state of the endpoint, until when the endpoint rests (ms, 0 not at all), event id that goes first or ''}
--   words: missing, removed (its endpoint), body-lost, leased, behind (one of its task goes first), delivered,
--   superseded, due (was pending), revived (had ended)
local endpoint, event_id, token = ARGV[1], ARGV[2], ARGV[3]
local known = redis.call('HMGET', P .. 'endpoint:' .. endpoint, 'state', 'paused_until', 'ordering')
local queue, deliveries = P .. 'queue:' .. endpoint, P .. 'deliveries:' .. endpoint

local function said(word, first)
  local rests = tonumber(known[2] or '') or 0
  return {word, known[1] or 'removed', rests > now and rests or 0, first or ''}
end

local record = record_of(endpoint, event_id)
if record == nil then return said('missing') end
local readable = record
record = record or record_from_event(endpoint, event_id)
if record.asked == token then return said(record.round_at and 'revived' or 'due') end
if (known[1] or 'removed') == 'removed' then return said('removed') end
if leased(endpoint, event_id) then return said('leased') end
local due, place = redis.call('ZSCORE', queue, event_id), place_of(endpoint, record.task, event_id)
local pending = record.state == 'pending' and (readable or due or place)
if pending and not due and place and place > 0 then return said('behind', head_of(endpoint, record.task)) end
if not pending and (record.state == 'delivered' or record.state == 'superseded') and ARGV[4] ~= '1' then
  return said(record.state)
end
if not body_of(event_id) then return said('body-lost') end

-- Its leases have ended. Whoever still has one and settles after all, comes too late: a delivery is in one place.
local function requeue()
  for _, entry in ipairs(leases_of(endpoint, event_id)) do redis.call('ZREM', P .. 'leases:' .. endpoint, entry) end
  redis.call('ZADD', queue, now, event_id)
end

if pending then
  local returns = readable and due and not place and known[3] == 'first-attempt' -- its turn has passed, and comes once more
  record.trigger, record.asked, record.again = 'manual', token, returns or record.again
  redis.call('HSET', deliveries, event_id, cjson.encode(record))
  redis.pcall('HDEL', P .. 'rejected', 'delivery:' .. endpoint .. ':' .. event_id)
  if returns then
    redis.call('ZREM', queue, event_id)
    line_up(endpoint, event_id, record, known[3], now)
  else
    requeue()
  end
else
  revive(endpoint, event_id, record, 'manual', token)
  line_up(endpoint, event_id, record, known[3], now)
end
if known[1] == 'held' then redis.call('HSET', P .. 'endpoint:' .. endpoint, 'probe_at', now) end
refresh(endpoint)
if known[1] == 'active' or known[1] == 'held' then wake('deliver') end
return said(pending and 'due' or 'revived')
