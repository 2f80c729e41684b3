-- After a hold: what waits for its next attempt need not wait any more, the oldest event first, a batch a call. How far
-- this has come is `resuming`, a score of the queue; whoever is killed in between, the sweep goes on from there. What was
-- attempted since the hold ended, and failed, waits by its own schedule.
-- Replies whether there is more.
local function resume(endpoint, batch)
  local key, queue = P .. 'endpoint:' .. endpoint, P .. 'queue:' .. endpoint
  local resumed, from = unpack(redis.call('HMGET', key, 'resumed_at', 'resuming'))
  if not from then return false end
  local later = redis.call('ZRANGEBYSCORE', queue, from, '+inf', 'WITHSCORES', 'LIMIT', 0, batch)
  local moved = 0
  for i = 1, #later, 2 do
    local record = record_of(endpoint, later[i])
    if record and renew(record, tonumber(resumed)) then
      redis.call('HSET', P .. 'deliveries:' .. endpoint, later[i], cjson.encode(record))
      redis.call('ZADD', queue, math.min(tonumber(record.created), now), later[i])
      moved = moved + 1
    end
  end
  if #later < 2 * batch then
    redis.call('HDEL', key, 'resuming')
    return false
  end
  local last = later[#later]
  redis.call('HSET', key, 'resuming', moved == 0 and last == from and '(' .. last or last)
  return true
end
