-- Shared by every script: the loader puts these lines before each of them. Nothing here writes unless called.
--
-- KEYS[1]     the prefix ("bridge:"); names that depend on data are built from it, by the patterns in store/keys.py
-- ARGV[#ARGV] now in ms; 0 (production) means Redis' own TIME: one clock for all processes
--
-- Lua has no rollback and a client repeats a script whose reply was lost. So each script reads and checks before its
-- first write, and running it again with the same arguments changes nothing more.

local P = KEYS[1]

local now = tonumber(ARGV[#ARGV])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function at_score(zset, index)
  local pair = redis.call('ZRANGE', zset, index, index, 'WITHSCORES')
  return tonumber(pair[2]), pair[1]
end

-- A number of ours as Redis keeps it, or `default`: absent, nonsense, NaN, or outside of what it can be (somebody wrote it
-- there, or a clock was set back). Lua reads "nan" and "inf" as numbers, and Redis takes neither back.
local function finite(text, default, low, high)
  local value = tonumber(text or '')
  if not value or value ~= value or value < low or value > high then return default end
  return value
end

local function whole(text, default, low, high)
  local value = finite(text, default, low, high)
  return value and math.floor(value)
end

-- One more in a counter of bridge:stats. What somebody wrote over it costs the figure, and never the step it counts.
local function count(name, by)
  redis.pcall('HINCRBY', P .. 'stats', name, by or 1)
end

-- What a caller counted (bridge/tally.py): '<name> <by> <name> <by> …'.
local function count_all(tally)
  for name, by in string.gmatch(tally, '(%S+) (%d+)') do count(name, by) end
end

-- One more in an endpoint's own counters. Callback URLs share theirs, as there is no end of them.
local function count_for(endpoint, name)
  local label = string.sub(endpoint, 1, 4) == 'url:' and 'url:*' or endpoint
  redis.pcall('HINCRBY', P .. 'stats:' .. label, name, 1)
end

-- Nudge a waiting pump. Bounded: a nudge says only "look", so a handful is as good as a thousand.
local function wake(kind)
  local list = P .. 'wake:' .. kind
  local waiting = redis.pcall('LLEN', list)
  if type(waiting) == 'number' and waiting < 8 then redis.call('LPUSH', list, '1') end
end

-- ---------------------------------------------------------------- outbox: an endpoint's queue and the ready ring

-- How many leases an endpoint may have. One whose cap was lost takes them one by one, until the sweep mends it.
local function cap_of(text)
  return whole(text, 1, 1, 100000)
end

-- What an endpoint takes at present, or nil if it takes nothing.
--   cap       how many leases it may have: its own, or fewer while it is overloaded; one at a time while it is held
--   from      not before this moment (ms): a rest that it asked for, the next probe, its rate
--   probes    while it is held, its breaker being open: how many probes failed
--   interval, burst, spent  its rate: one attempt each interval (ms), so many at once; it is spent up to this moment (ms)
local function limits_of(endpoint)
  local key = P .. 'endpoint:' .. endpoint
  local known = redis.call('HMGET', key, 'state', 'paused_until', 'cap', 'limit', 'rate', 'granted')
  local held = known[1] == 'held'
  if known[1] ~= 'active' and not held then return nil end
  local limits = {cap = cap_of(known[3]), from = whole(known[2], 0, 0, now + 86460000)}
  if known[4] then limits.cap = math.min(limits.cap, whole(known[4], limits.cap, 1, 100000)) end
  for i = 5, 6 do -- its owner's, and what its receiver granted: the lower one
    local interval, burst = string.match(known[i] or '', '^(%S+) (%S+)')
    interval = known[i] and finite(interval, 1000, 0.001, 86400000) or 0
    if interval > (limits.interval or 0) then limits.interval, limits.burst = interval, whole(burst, 1, 1, 1000000) end
  end
  if limits.interval then
    limits.spent = math.max(now, finite(redis.call('HGET', key, 'rate_at'), 0, 0, 1e14))
    if limits.spent > now + limits.interval * limits.burst + 1 then limits.spent = now end -- the clock was set back
    limits.from = math.max(limits.from, math.ceil(limits.spent + limits.interval - limits.interval * limits.burst - 0.001))
  end
  if held then
    local open = redis.call('HMGET', key, 'probe_at', 'probes')
    limits.cap, limits.probes = 1, whole(open[2], 0, 0, 1000000)
    limits.from = math.max(limits.from, whole(open[1], 0, 0, now + 600000))
  end
  return limits
end

-- How many attempts its rate lets go out now; a double holds such moments to a quarter of a microsecond.
local function allowed_by_rate(limits)
  return math.floor((now + limits.interval * limits.burst - limits.spent + 0.001) / limits.interval)
end

-- Say when this endpoint next has something to do: its first due delivery (while it is held any, due or not) if a slot is
-- free and it is not resting, or the end of its first lease, whatever comes first. Who was just served goes to the back of
-- the ring; who waits keeps its place, so that an old backlog does not outrank a fresh delivery for ever.
local function refresh(endpoint, served)
  local ready = P .. 'ready'
  local limits = limits_of(endpoint)
  if not limits then
    redis.call('ZREM', ready, endpoint)
    return
  end
  local moment = nil
  local leases = P .. 'leases:' .. endpoint
  local first_lease = at_score(leases, 0)
  if redis.call('ZCOUNT', leases, '(' .. now, '+inf') < limits.cap then
    local due = at_score(P .. 'queue:' .. endpoint, 0)
    if due then moment = math.max(limits.probes and now or due, limits.from, now) end
  end
  if first_lease and (not moment or first_lease < moment) then moment = math.max(first_lease, now) end
  if moment == now and not served then
    local waiting = tonumber(redis.call('ZSCORE', ready, endpoint))
    if waiting and waiting < now then return end
  end
  if moment then redis.call('ZADD', ready, moment, endpoint) else redis.call('ZREM', ready, endpoint) end
end

-- The set of endpoints is another one now. Like a revision, its version is never less than the time: a Redis that was
-- emptied, or set back, must not come to a version again that means another set to those who still know it.
local function endpoints_moved()
  local before = tonumber(redis.call('HGET', P .. 'meta', 'endpoints_version') or '') or 0
  redis.call('HSET', P .. 'meta', 'endpoints_version', string.format('%.0f', math.max(before + 1, now)))
end

-- Its failures in a row are over, and with them what they led to while it was not disabled.
local function absolve(key)
  redis.call('HSET', key, 'failures', 0, 'blocked', 0)
  redis.call('HDEL', key, 'failing_since', 'failed_at', 'probe_at', 'probes', 'turn', 'warned', 'last_failure')
end

-- All that an endpoint's answers have led to is as if they had not been: what enabling it again resets.
local function forgive(endpoint)
  local key = P .. 'endpoint:' .. endpoint
  absolve(key)
  redis.call('HDEL', key, 'reason', 'by', 'disabled_at', 'paused_until', 'recovering', 'limit', 'limit_from', 'calm')
end

-- Has its receiver still to consent to be sent anything at the URL that is in force?
local function unconfirmed(key)
  local asks, consent = unpack(redis.call('HMGET', key, 'handshake', 'consent'))
  return asks and asks ~= consent
end

-- Have a receiver asked, now. What somebody wrote over the set of those that are asked is put right by who claims of it.
local function have_asked(endpoint)
  redis.pcall('ZADD', P .. 'unconfirmed', now, endpoint)
end

-- Let an endpoint be tried again, whatever it was held or disabled for; what was held for it is due, which
-- parts/resume.lua sees to, unless it has. One whose receiver has not consented is held until it has, and asked now.
local function activate(endpoint, resumed)
  local key = P .. 'endpoint:' .. endpoint
  if unconfirmed(key) then
    forgive(endpoint)
    redis.call('HDEL', key, 'unheard', 'resuming')
    redis.call('HSET', key, 'state', 'disabled', 'reason', 'unanswered', 'disabled_at', now)
    have_asked(endpoint)
    refresh(endpoint)
    wake('deliver') -- whoever claims hears of the endpoint, which is what has it asked
    return
  end
  local state = redis.call('HGET', key, 'state')
  if not resumed and (state == 'disabled' or state == 'held') then
    redis.call('HSET', key, 'resumed_at', now, 'resuming', '-inf')
  end
  forgive(endpoint)
  redis.call('HSET', key, 'state', 'active', 'since', now)
  refresh(endpoint)
  wake('deliver')
end

-- A task's deliveries to an endpoint, whose turn has not passed: whose turn it is stands in the endpoint's turns, and who is
-- behind that one in a list, which most tasks never need. What somebody wrote over of these is as good as empty: the sweep
-- finds who waited.

-- The first of those behind it leaves the list; false where nobody is there.
local function next_of(endpoint, member)
  local line = P .. 'line:' .. endpoint .. ':' .. member
  local first = redis.pcall('LPOP', line)
  if type(first) ~= 'table' then return first end
  redis.call('DEL', line)
  return false
end

-- Whose turn it is, or false. Who is behind nobody comes next: the turns were lost, or this is a line of versions before
-- there were turns, which began with the one whose turn it was.
local function head_of(endpoint, member)
  local turns = P .. 'turns:' .. endpoint
  local head = redis.pcall('HGET', turns, member)
  if type(head) == 'table' then
    redis.call('DEL', turns)
    head = false
  end
  if head then return head end
  head = next_of(endpoint, member)
  if head then redis.call('HSET', turns, member, head) end
  return head
end

-- The list of those behind it.
local function line_of(endpoint, member)
  local line = P .. 'line:' .. endpoint .. ':' .. member
  if type(redis.pcall('LLEN', line)) == 'table' then redis.call('DEL', line) end
  return line
end

-- How many are before this one: 0 if it is its turn, nil if it is not in line.
local function place_of(endpoint, member, event_id)
  local head = head_of(endpoint, member)
  if not head then return nil end
  if head == event_id then return 0 end
  local index = redis.call('LPOS', line_of(endpoint, member), event_id)
  return index and index + 1 or nil
end

-- To the end of the line; replies whether its turn is now.
local function join(endpoint, member, event_id)
  if not head_of(endpoint, member) then
    redis.call('HSET', P .. 'turns:' .. endpoint, member, event_id)
    return true
  end
  redis.call('RPUSH', line_of(endpoint, member), event_id)
  return false
end

-- The record of a delivery that nobody has attempted. Many are kept, so what goes without saying is not said: it is
-- pending, after 0 attempts.
local function fresh(member, event_type, revision)
  return cjson.encode({task = member, type = event_type, revision = revision, created = now})
end

-- Owe an event to an endpoint. Its identity is (endpoint, event), so owing it twice is owing it once.
-- Replies 1 if it is new, else 0. The caller has checked that the endpoint is registered.
local function owe(endpoint, event_id, member, record)
  if redis.call('HSETNX', P .. 'deliveries:' .. endpoint, event_id, record) == 0 then return 0 end
  redis.call('HINCRBY', P .. 'event:' .. event_id, 'refs', 1)
  local known = redis.call('HMGET', P .. 'endpoint:' .. endpoint, 'state', 'ordering')
  if known[2] == 'none' or join(endpoint, member, event_id) then
    redis.call('ZADD', P .. 'queue:' .. endpoint, now, event_id)
    if known[1] == 'active' then
      redis.call('ZADD', P .. 'ready', 'LT', now, endpoint)
    elseif known[1] == 'held' then
      refresh(endpoint)
    end
  end
  return 1
end

-- Owe an event to many endpoints: at once, or, if they are more than one step takes or an earlier event is still being
-- handed out, by a resumable entry that stands for them (and needs the event, too, until it is done).
-- Replies whether somebody is owed it now who was not before.
local function owe_all(endpoints, step, event_id, member, event_type, revision)
  if #endpoints > step or (#endpoints > 0 and redis.call('EXISTS', P .. 'fanout') == 1) then
    local list = P .. 'fanout:' .. event_id
    if redis.call('EXISTS', list) == 0 then
      redis.call('RPUSH', P .. 'fanout', event_id)
      redis.call('HINCRBY', P .. 'event:' .. event_id, 'refs', 1)
    end
    for _, endpoint in ipairs(endpoints) do redis.call('RPUSH', list, endpoint) end
    return true
  end
  local record, owed = fresh(member, event_type, revision), 0
  for _, endpoint in ipairs(endpoints) do owed = owed + owe(endpoint, event_id, member, record) end
  return owed > 0
end

-- The leases that this delivery has, ended ones included; an endpoint has no more than its cap of live ones.
local function leases_of(endpoint, event_id)
  local found = {}
  for _, entry in ipairs(redis.call('ZRANGE', P .. 'leases:' .. endpoint, 0, -1)) do
    if string.match(entry, '^(.*)/') == event_id then found[#found + 1] = entry end
  end
  return found
end

-- This delivery's turn has passed: the next one of its task may make its first attempt. Nothing if it passed before.
local function promote(endpoint, member, event_id)
  if head_of(endpoint, member) ~= event_id then return end
  local successor = next_of(endpoint, member)
  if not successor then
    redis.call('HDEL', P .. 'turns:' .. endpoint, member)
    return
  end
  redis.call('HSET', P .. 'turns:' .. endpoint, member, successor)
  -- One that has a lease, be it over, is queued or promoted by whoever ends that: in two places it would go out twice.
  if #leases_of(endpoint, successor) == 0 then
    redis.call('ZADD', P .. 'queue:' .. endpoint, now, successor)
  end
end

-- Was a delivery leased ahead of its time, by this lease? And when is it due then? That is nil when the hold that it was
-- for is over, as what was held is due. It is kept as a distance from the lease's end, which moves with a clock that is set
-- back; nonsense, and what another lease left there, count for nothing.
local function ahead_of_time(endpoint, record, token, lease_end)
  local by, rest = string.match(tostring(record and record.early or ''), '^(%x+) (.*)$')
  if by ~= token then return false, nil end
  local after, hold = string.match(rest, '^(%-?%d+) (%S*)$')
  local state, resumed = unpack(redis.call('HMGET', P .. 'endpoint:' .. endpoint, 'state', 'resumed_at'))
  if state ~= 'held' or (resumed or '') ~= hold then return true, nil end
  after = whole(after, nil, -864000000, 864000000)
  return true, after and tonumber(lease_end) + after
end

-- End a delivery: delivered, dead, superseded or cancelled. It stays readable until retention.
local function finish(endpoint, event_id, record, state, reason)
  record.state, record.reason, record.ended = state, reason, now
  redis.call('HSET', P .. 'deliveries:' .. endpoint, event_id, cjson.encode(record))
  redis.call('ZADD', P .. (state == 'dead' and 'dead:' or 'done:') .. endpoint, now, event_id)
  count(state)
  if state ~= 'delivered' then count_for(endpoint, state) end -- that is what its attempts that succeed are
end

-- A delivery's record, if it reads as one. Nil when there is none, false when somebody wrote nonsense over it: cjson
-- raises at what is no JSON, and what is no record would break whoever claimed beside it.
local function record_of(endpoint, event_id)
  local text = redis.call('HGET', P .. 'deliveries:' .. endpoint, event_id)
  if not text then return nil end
  local read, record = pcall(cjson.decode, text)
  if not read or type(record) ~= 'table' then return false end
  record.state, record.attempts = record.state or 'pending', record.attempts or 0
  local words = type(record.task) == 'string' and type(record.type) == 'string' and type(record.state) == 'string'
  local revision = string.match(tostring(record.revision), '^%d+$')
  local made, attempts = tonumber(record.created), record.attempts
  if not words or not revision or not made or not (made >= 0 and made < 1e14) then return false end
  if type(attempts) ~= 'number' or not (attempts >= 0 and attempts < 1e9) then return false end
  for name, value in pairs(record) do -- what JSON cannot write back would be attempted for ever, and never settled
    if type(value) == 'table' or (type(value) == 'number' and not (value > -1e300 and value < 1e300)) then
      record[name] = nil
    end
  end
  return record
end

-- What a delivery's record must have been, from its event and the attempts that are remembered. An event that is gone
-- too leaves a record without a task.
local function record_from_event(endpoint, event_id)
  local event = redis.pcall('HMGET', P .. 'event:' .. event_id, 'task', 'type', 'revision')
  if event.err then event = {} end
  return {task = event[1] or '', type = event[2] or '', revision = event[3] or '0', created = now, state = 'pending',
    attempts = redis.call('LLEN', P .. 'attempts:' .. endpoint .. ':' .. event_id)}
end

-- Is somebody attempting it just now?
local function leased(endpoint, event_id)
  for _, entry in ipairs(leases_of(endpoint, event_id)) do
    if tonumber(redis.call('ZSCORE', P .. 'leases:' .. endpoint, entry)) > now then return true end
  end
  return false
end

-- The bytes that are to be sent, or nil: an event without a body is lost, and an empty POST would say nothing.
local function body_of(event_id)
  local body = redis.pcall('HGET', P .. 'event:' .. event_id, 'body')
  if type(body) ~= 'string' or body == '' then return nil end
  return body
end

-- One delivery or snapshot less needs this event's body; the last one takes it along.
local function release(event_id)
  local left = redis.pcall('HINCRBY', P .. 'event:' .. event_id, 'refs', -1)
  if type(left) == 'number' and left <= 0 then redis.call('DEL', P .. 'event:' .. event_id) end
end

-- ---------------------------------------------------------------- registry: a task's watch

-- By how many ms Redis' clock is behind where it has been. A revision is ahead of the time and this, so that it grows even
-- when Redis forgot the revision before, and its clock was set back beyond that one. The record of the clock is up to a
-- sweep old, and Redis may have forgotten two seconds of it: ten seconds cover both. What nobody can have waited for,
-- somebody wrote there.
local function clock_behind()
  local times = redis.pcall('HMGET', P .. 'meta', 'clock', 'clock_behind')
  local recorded, behind = tonumber(times[1] or ''), tonumber(times[2] or '') or 0
  if recorded and now < recorded then behind = behind + recorded - now + 10000 end
  return behind >= 0 and behind < 1e11 and behind or 0
end

-- Does its client still want this task watched? A key of the wrong type is an accident of somebody's, not a removal, and
-- nor is what is missing from it once it was put right, until intake has written back what was registered.
local function wanted(member)
  if redis.pcall('ZSCORE', P .. 'tasks', member) then return true end
  return redis.pcall('HEXISTS', P .. 'rejected', 'key:' .. P .. 'tasks') == 1
end

-- A task's callback_url acts as an implicit endpoint, which lives while a task relies on it or something is owed to it.
local function rely_on(member, callback)
  local key = P .. 'watch:' .. member
  local before = redis.call('HGET', key, 'callback') or ''
  if before == callback then return end
  if before ~= '' and redis.call('EXISTS', P .. 'endpoint:' .. before) == 1 then
    redis.call('HINCRBY', P .. 'endpoint:' .. before, 'watchers', -1)
  end
  if callback ~= '' then redis.call('HINCRBY', P .. 'endpoint:' .. callback, 'watchers', 1) end
  redis.call('HSET', key, 'callback', callback)
end

-- Watch a task no longer. Its snapshot stays until retention, so that registering it again repeats nothing. A request
-- that intake has not yet taken in (its score is no +inf) stays too: its client has asked since, maybe for others to hear.
local function unwatch(member)
  if redis.pcall('ZSCORE', P .. 'tasks', member) == 'inf' then redis.call('ZREM', P .. 'tasks', member) end
  redis.call('ZREM', P .. 'watch', member)
  rely_on(member, '')
  redis.call('DEL', P .. 'watch:' .. member)
  redis.call('ZADD', P .. 'ended', now, member)
end

-- Is this claim still ours? 'ok', 'stale' (the lease went to somebody else) or 'removed' (the client took the task back).
local function standing(member, token)
  if not wanted(member) then
    if redis.call('ZSCORE', P .. 'watch', member) then unwatch(member) end
    return 'removed'
  end
  if redis.call('HGET', P .. 'watch:' .. member, 'token') ~= token then return 'stale' end
  return 'ok'
end

-- Its current event was told to all who are to hear of it, unless somebody changed meanwhile who they are.
local function announced(member)
  local key = P .. 'watch:' .. member
  if redis.call('HEXISTS', key, 'again') == 0 then redis.call('HDEL', key, 'announce') end
end

-- When a task is due again, in ms, and whether it is left to the list till then: a number, or '<near> <far> <fresh> <share>
-- <pace> <closely> <account>', which is far away while a pass over that account's list was complete within the fresh ms,
-- and else near. It is near, too, while the list contradicted the task: for `closely` ms from when that was said. A list is
-- believed for no longer than it has told, and one of all tasks is due in a minute, so that a lie is found; where requests
-- are few, one in `pace` ms at most; of that, `share` thousandths. Judged here, in the step that writes it: a process that
-- has not heard yet that the list tells no more must not rely on it.
local LEAST_FAR = 60000
local function delay_of(key, text)
  local near, far, fresh, share, pace, closely, account =
    string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%S+)$')
  if not near then return tonumber(text), false end
  near = tonumber(near)
  if closely ~= '0' then redis.call('HSET', key, 'closely', now + closely) end
  if whole(redis.call('HGET', key, 'closely'), 0, 0, now + 86400000) > now then return near, false end
  local known = redis.pcall('HMGET', P .. 'listing:' .. account, 'listed', 'since')
  local listed = whole(known[1], nil, 0, now + 1000)
  if not listed or now - listed > tonumber(fresh) then return near, false end
  local told = now - whole(known[2], now, 0, now)
  local tasks = redis.call('ZCARD', P .. 'watch')
  far = math.min(far, math.max(LEAST_FAR, told, pace * tasks), math.max(LEAST_FAR, pace) * tasks)
  far = math.floor(far * share / 1000)
  return math.max(near, far), far > near
end

-- The claim is done: the task is due again after this delay, or at once if somebody asked meanwhile; below 0 it has ended.
local function rest(member, delay)
  local key = P .. 'watch:' .. member
  local delay_ms, relies = delay_of(key, delay)
  local again = redis.call('HGET', key, 'again')
  if delay_ms < 0 and not again then return unwatch(member) end
  if again then delay_ms = 0 end
  redis.call('HDEL', key, 'token', 'again', 'relied')
  if relies and not again then redis.call('HSET', key, 'relied', now) end
  redis.call('ZADD', P .. 'watch', now + delay_ms, member)
end

-- Say in bridge:rejected why an entry was refused. Bounded: beyond that, some other one makes place, but never the word
-- about a client's key of a wrong type: what was registered there is written back on account of it.
local function remember_rejection(field, reason, bound)
  local rejected = P .. 'rejected'
  local held = redis.pcall('HEXISTS', rejected, field)
  if held == 0 and redis.call('HLEN', rejected) >= bound then
    for _, other in ipairs(redis.call('HRANDFIELD', rejected, 3)) do
      if other ~= 'key:' .. P .. 'tasks' and other ~= 'key:' .. P .. 'endpoints' then
        redis.call('HDEL', rejected, other)
        break
      end
    end
  end
  redis.pcall('HSET', rejected, field, reason) -- written over with another type, it is the doctor's to name
  count('rejected')
end

-- Put aside a delivery whose record is nonsense: a dead letter, said in bridge:rejected, its successor goes on.
local function put_aside(endpoint, event_id, bound)
  local record = record_from_event(endpoint, event_id)
  finish(endpoint, event_id, record, 'dead', 'unreadable')
  promote(endpoint, record.task, event_id)
  remember_rejection('delivery:' .. endpoint .. ':' .. event_id, cjson.encode({field = 'record', value = '',
    reason = 'its record in bridge:deliveries:' .. endpoint .. ' was overwritten with something else', at = now,
    fix = 'bridge delivery retry ' .. event_id .. ' --endpoint ' .. endpoint}), bound)
end
