#!lua flags=allow-oom
-- Forget what retention no longer asks for, a batch a call. Only what has ended is ever touched.
-- ARGV  'done' | 'dead', endpoint, older than ms, batch
-- Steps: oldest ended deliveries first: their record, their attempts, and their hold on the event's body; an endpoint
--   that was removed and has nothing left to show is forgotten by name.
-- Reply how many were forgotten
local endpoint, batch = ARGV[2], tonumber(ARGV[4])
local ended = P .. ARGV[1] .. ':' .. endpoint
local old = redis.call('ZRANGEBYSCORE', ended, '-inf', now - tonumber(ARGV[3]), 'LIMIT', 0, batch)
for _, event_id in ipairs(old) do
  redis.call('ZREM', ended, event_id)
  if redis.call('HDEL', P .. 'deliveries:' .. endpoint, event_id) == 1 then release(event_id) end
  redis.call('DEL', P .. 'attempts:' .. endpoint .. ':' .. event_id)
  redis.pcall('HDEL', P .. 'rejected', 'delivery:' .. endpoint .. ':' .. event_id)
end
if #old == 0 and redis.call('EXISTS', P .. 'endpoint:' .. endpoint, P .. 'deliveries:' .. endpoint) == 0 then
  redis.call('SREM', P .. 'names', endpoint)
end
return #old
