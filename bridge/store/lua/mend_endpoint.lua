#!lua flags=allow-oom
-- with: renew
-- with: revive
-- with: resume
-- Put right what somebody deleted, or a rollback lost, of an endpoint's keys: what is owed stays owed.
-- ARGV  name, cap for a hash made anew, bound on bridge:rejected, then ids of deliveries that may be pending (a page of
--       them) up to the last but one argument
-- Steps: what has a wrong type goes aside; the endpoint's hash and its place in bridge:registry each tell what the other needs to be made anew (the set's
--   version moves on then, so that everybody reads it again and intake completes it); a pending delivery that is neither
--   queued nor leased nor waiting for its turn is due now; who waits behind one whose turn has passed, or in a line of an
--   endpoint that wants none any more, is due, too, as is one whose record cannot be read; a receiver that has to consent
--   is asked; what a hold had kept waiting is due, another batch of it;
--   the endpoint's next moment.
-- Reply how many deliveries were put right
local name = ARGV[1]
local key, queue = P .. 'endpoint:' .. name, P .. 'queue:' .. name

-- What has another type than it should goes aside and is said in bridge:rejected; it is made anew like what is gone.
for what, wanted in pairs({endpoint = 'hash', queue = 'zset', leases = 'zset', deliveries = 'hash', turns = 'hash'}) do
  local ours = P .. what .. ':' .. name
  local kind = redis.call('TYPE', ours).ok
  if kind ~= wanted and kind ~= 'none' then
    local aside = P .. 'aside:' .. what .. ':' .. name
    redis.call('RENAME', ours, aside)
    remember_rejection('key:' .. ours, cjson.encode({field = '', value = '', at = now,
      reason = ours .. ' was a ' .. kind .. ', not a ' .. wanted .. '; it was set aside, and is made anew',
      fix = 'look at ' .. aside .. ', DEL it, then HDEL ' .. P .. 'rejected key:' .. ours}), tonumber(ARGV[3]))
  end
end

local state, ordering, kept = unpack(redis.call('HMGET', key, 'state', 'ordering', 'config'))
local config = redis.call('HGET', P .. 'registry', name)
if state and not ({active = 1, disabled = 1, held = 1, removed = 1})[state] then
  state = unconfirmed(key) and 'disabled' or 'active'
  redis.call('HSET', key, 'state', state)
end
if state and state ~= 'removed' and unconfirmed(key) then redis.pcall('ZADD', P .. 'unconfirmed', 'NX', now, name) end
if state and not tonumber(redis.call('HGET', key, 'cap') or '') then redis.call('HSET', key, 'cap', ARGV[2]) end
if config and not state then
  local read, definition = pcall(cjson.decode, config)
  definition = read and type(definition) == 'table' and definition or {}
  state, ordering = definition.handshake and 'disabled' or 'active', definition.ordering or 'first-attempt'
  redis.call('HSET', key, 'state', state, 'ordering', ordering, 'cap', ARGV[2], 'config', config, 'failures', 0,
    'blocked', 0, 'since', now)
  endpoints_moved()
elseif kept and not config and state ~= 'removed' then
  redis.call('HSET', P .. 'registry', name, kept)
  endpoints_moved()
end
if config or state then redis.call('SADD', P .. 'names', name) end

local leased = {}
for _, entry in ipairs(redis.call('ZRANGE', P .. 'leases:' .. name, 0, -1)) do
  local event_id = string.match(entry, '^(.*)/')
  if event_id then leased[event_id] = true else redis.call('ZREM', P .. 'leases:' .. name, entry) end
end

local function pending(event_id)
  local record = record_of(name, event_id)
  return record and record.state == 'pending' and record
end

-- Is this one's turn still to come? A head that ended, or whose turn has passed, gives way first.
local function waits(event_id, member)
  local turns, head, line = P .. 'turns:' .. name, head_of(name, member), line_of(name, member)
  if ordering == 'none' then
    if head == event_id then redis.call('HDEL', turns, member) else redis.call('LREM', line, 0, event_id) end
    return false
  end
  while head and head ~= event_id do
    local record = pending(head)
    if record and (record.attempts == 0 or record.again or ordering == 'strict') then
      return redis.call('LPOS', line, event_id) and true
    end
    promote(name, member, head)
    head = head_of(name, member)
  end
  return false
end

local righted = 0
for i = 4, #ARGV - 1 do
  local event_id = ARGV[i]
  if not leased[event_id] and not redis.call('ZSCORE', queue, event_id) then
    local record = record_of(name, event_id) -- false, unreadable: whoever claims it puts it aside
    if record == false or (record and record.state == 'pending' and not waits(event_id, record.task)) then
      redis.call('ZADD', queue, 'NX', now, event_id)
      righted = righted + 1
    end
  end
end
if resume(name, 500) then righted = righted + 1 end -- there is more of it
refresh(name)
return righted
