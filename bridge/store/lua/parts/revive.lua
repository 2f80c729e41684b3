-- Owing again what has ended, and its place among the deliveries of its task.
local looked = 0 -- what it cost to look, about, in records read: who revives many stops at a bound

-- Where this delivery belongs in a line, whose revisions grow: the one that it goes before, and that one's index; nil at
-- the end. The end is looked at first: whoever revives many does so in order.
local function successor(endpoint, line, head, record)
  local function at(index) return index == 0 and head or redis.call('LINDEX', line, index - 1) end
  local low, high = 0, redis.call('LLEN', line) + 1
  local middle = high - 1
  while low < high do
    local theirs = record_of(endpoint, at(middle))
    looked = looked + 1
    if theirs and tonumber(theirs.revision) > tonumber(record.revision) then high = middle else low = middle + 1 end
    middle = math.floor((low + high) / 2)
  end
  return at(low), low
end

-- Let it wait for its turn where order asks for that, else be due at `score`. `again` says that it has a turn once more,
-- although it was attempted before: what is sent again is as much in order as what is sent first.
local function line_up(endpoint, event_id, record, ordering, score)
  local queue = P .. 'queue:' .. endpoint
  local keeps = ordering == 'strict' or (ordering == 'first-attempt' and (record.attempts == 0 or record.again))
  if not keeps then return redis.call('ZADD', queue, score, event_id) end
  local head, line = head_of(endpoint, record.task), line_of(endpoint, record.task)
  local other, index
  if head then other, index = successor(endpoint, line, head, record) end
  if not other then
    if join(endpoint, record.task, event_id) then redis.call('ZADD', queue, score, event_id) end
    return
  end
  looked = looked + redis.call('LLEN', line) / 100 -- to insert into a list is to walk along it
  if index > 0 then
    redis.call('LINSERT', line, 'BEFORE', other, event_id)
  elseif leased(endpoint, other) then -- on its way already: right after it, then
    redis.call('LPUSH', line, event_id)
  else
    redis.call('LPUSH', line, other)
    redis.call('HSET', P .. 'turns:' .. endpoint, record.task, event_id)
    redis.call('ZREM', queue, other)
    redis.call('ZADD', queue, score, event_id)
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
