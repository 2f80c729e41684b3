-- After a hold: what is owed waits for no retry any more, and goes out by its revision, a time that no two events of a
-- task share, and in its task's line, where it has one turn more; a batch a call. How far this has come is `resuming`, a
-- score of the queue; where whoever began it was killed, the sweep goes on from there. What was attempted since, and
-- failed, waits by its own schedule.
-- Replies whether there is more.
local function resume(endpoint, batch)
  local key, queue = P .. 'endpoint:' .. endpoint, P .. 'queue:' .. endpoint
  local resumed, from, ordering = unpack(redis.call('HMGET', key, 'resumed_at', 'resuming', 'ordering'))
  if not from then return false end
  if not string.match(from, '^%(?%-?[%d.e+]+$') then from = '-inf' end
  local waiting = redis.call('ZRANGEBYSCORE', queue, from, '+inf', 'WITHSCORES', 'LIMIT', 0, batch)
  local moved = 0
  for i = 1, #waiting, 2 do
    local record = record_of(endpoint, waiting[i])
    if record and renew(record, whole(resumed, nil, 0, 1e14)) then
      local score = math.min(tonumber(record.revision), now)
      local in_line = head_of(endpoint, record.task) == waiting[i]
        or (record.again and place_of(endpoint, record.task, waiting[i]))
      record.again = ordering == 'first-attempt' and record.attempts > 0 or nil
      redis.call('HSET', P .. 'deliveries:' .. endpoint, waiting[i], cjson.encode(record))
      if record.again and not in_line then
        redis.call('ZREM', queue, waiting[i])
        line_up(endpoint, waiting[i], record, ordering, score)
      else -- unless one before it has just taken its place at the head of the line
        redis.call('ZADD', queue, 'XX', score, waiting[i])
      end
      moved = moved + 1
    end
  end
  if #waiting < 2 * batch then
    redis.call('HDEL', key, 'resuming')
    return false
  end
  local last = waiting[#waiting]
  redis.call('HSET', key, 'resuming', moved == 0 and last == from and '(' .. last or last)
  return true
end
