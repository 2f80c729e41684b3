#!lua flags=allow-oom
-- with: supersede
-- Forget what retention no longer asks for, a batch a call. Only what has ended is ever touched.
-- ARGV  1 endpoint, 2 what was delivered, superseded or cancelled longer ago than so many ms, 3 dead letters likewise,
--       4 batch, of each
-- Steps: oldest ended deliveries first: their record, their attempts, their hold on the event's body, and the note
--   that they were their task's latest; an endpoint that was removed and has nothing left to show is forgotten by name, and
--   so are its counters.
-- Reply how many were forgotten
local endpoint, batch = ARGV[1], tonumber(ARGV[4])
local noted = redis.call('EXISTS', P .. 'latest:' .. endpoint) == 1

local function forget(ended, older)
  local old = redis.call('ZRANGEBYSCORE', ended, '-inf', now - older, 'LIMIT', 0, batch)
  for _, event_id in ipairs(old) do
    redis.call('ZREM', ended, event_id)
    if noted then
      local member = (record_of(endpoint, event_id) or record_from_event(endpoint, event_id)).task
      local _, latest = latest_of(endpoint, member)
      if latest == event_id then redis.pcall('HDEL', P .. 'latest:' .. endpoint, member) end
    end
    if redis.call('HDEL', P .. 'deliveries:' .. endpoint, event_id) == 1 then release(event_id) end
    redis.call('DEL', P .. 'attempts:' .. endpoint .. ':' .. event_id)
    redis.pcall('HDEL', P .. 'rejected', 'delivery:' .. endpoint .. ':' .. event_id)
  end
  return #old
end

local forgotten = forget(P .. 'done:' .. endpoint, tonumber(ARGV[2])) + forget(P .. 'dead:' .. endpoint, tonumber(ARGV[3]))
if noted and redis.call('EXISTS', P .. 'deliveries:' .. endpoint) == 0 then redis.call('DEL', P .. 'latest:' .. endpoint) end
if forgotten == 0 and redis.call('EXISTS', P .. 'endpoint:' .. endpoint, P .. 'deliveries:' .. endpoint) == 0 then
  redis.call('SREM', P .. 'names', endpoint)
  redis.call('DEL', P .. 'stats:' .. endpoint)
end
return forgotten
