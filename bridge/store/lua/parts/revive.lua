-- Owing again what has ended, and its place among the deliveries of its task.
local looked = 0 -- what it cost to look, about, in records read: who revives many stops at a bound

-- Where this delivery belongs in a line, whose revisions grow: the one that it goes before, and that one's index; nil at
-- the end. The end is looked at first: whoever revives many does so in order.
local function successor(endpoint, line, record)
  local low, high = 0, redis.call('LLEN', line)
  local middle = high - 1
  while low < high do
    local theirs = record_of(endpoint, redis.call('LINDEX', line, middle))
    looked = looked + 1
    if theirs and tonumber(theirs.revision) > tonumber(record.revision) then high = middle else low = middle + 1 end
    middle = math.floor((low + high) / 2)
  end
  return redis.call('LINDEX', line, low), low
end

-- Let it wait for its turn where order asks for that, else be due at `score`. `again` says that it has a turn once more,
-- although it was attempted before: what is sent again is as much in order as what is sent first.
local function line_up(endpoint, event_id, record, ordering, score)
  local queue, line = P .. 'queue:' .. endpoint, P .. 'line:' .. endpoint .. ':' .. record.task
  local keeps = ordering == 'strict' or (ordering == 'first-attempt' and (record.attempts == 0 or record.again))
  if not keeps then return redis.call('ZADD', queue, score, event_id) end
  if not head_of(line) then
    redis.call('RPUSH', line, event_id)
    return redis.call('ZADD', queue, score, event_id)
  end
  local other, index = successor(endpoint, line, record)
  if not other then
    redis.call('RPUSH', line, event_id)
    return
  end
  looked = looked + redis.call('LLEN', line) / 100 -- to insert into a list is to walk along it
  if index == 0 and leased(endpoint, other) then -- on its way already: right after it, then
    redis.call('LINSERT', line, 'AFTER', other, event_id)
  else
    redis.call('LINSERT', line, 'BEFORE', other, event_id)
    if index == 0 then
      redis.call('ZREM', queue, other)
      redis.call('ZADD', queue, score, event_id)
    end
  end
end

-- It is owed again: its attempt numbers go on, its schedule starts anew, and it remembers who asked.
local function revive(endpoint, event_id, record, trigger, token)
  record.trigger, record.asked, record.again = trigger, token, true
  record.state, record.reason, record.ended, record.claims = 'pending', nil, nil, nil
  record.round_from, record.round_at = record.attempts, now
  redis.call('HSET', P .. 'deliveries:' .. endpoint, event_id, cjson.encode(record))
  redis.call('ZREM', P .. 'dead:' .. endpoint, event_id)
  redis.call('ZREM', P .. 'done:' .. endpoint, event_id)
  redis.pcall('HDEL', P .. 'rejected', 'delivery:' .. endpoint .. ':' .. event_id)
  count('retried')
end
