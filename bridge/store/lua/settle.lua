#!lua flags=allow-oom
-- with: supersede
-- Record what an attempt came to and move its delivery on, in one step. Our lease is the proof that it is ours to say.
-- ARGV  1 endpoint, 2 event id, 3 token, 4 state (pending, delivered, dead), 5 retry in ms, 6 reason,
--       7 effect (success, failure, overload, disable-gone, blocked), 8 pause ms, 9 attempt JSON, 10 attempts kept,
--       11 what the endpoint's counters call this attempt, 12 what else is counted,
--       and of what is no success also 13 blocked attempts in a row that disable, 14 ms until the next probe, if there
--       is one, 15 probes that failed before this one or '' for an ordinary attempt, 16 failures in a row that open the
--       breaker, if 17 the first of them is at least so many ms ago, 18 failure window ms (0: none), 19 percents of it
--       at which to warn, by spaces
-- Steps: lease; attempt count and log; due again, or ended, also as superseded instead of due again where its endpoint
--   asks for that and a later one of the task was delivered; the next one of this task is promoted after the first
--   attempt (after the end, if ordering is strict); what it means for the endpoint; its next moment.
--   Any success closes the breaker, and what was to be tried again later is due then: as much as the endpoint's cap at
--   once, and two more at each success that follows without a failure between them.
--   Overload halves how many attempts the endpoint may have in flight, once for all that were in flight then; after as
--   many successes as it may have, it is one more, up to its cap.
--   What a failure came to, in short, stands with the endpoint until a success.
--   Failing for so much of the window is told once each, and so is the end of it, and after any of these the first
--   success; what is to be told waits in bridge:notices until tell.lua makes an event of it. After as long without a
--   failure the window begins anew.
-- Reply 'ok', 'stale' (the lease ended, or it was settled before, or it has ended), or ok and the endpoint now is 'held' (its breaker
--   opened), 'back' (it closed) or 'disabled'
local endpoint, event_id, state, effect = ARGV[1], ARGV[2], ARGV[4], ARGV[7]
local leases = P .. 'leases:' .. endpoint
local entry = event_id .. '/' .. ARGV[3]
local record = record_of(endpoint, event_id)
local lease_end = redis.call('ZSCORE', leases, entry)
if record == nil or not lease_end then return 'stale' end

record = record or record_from_event(endpoint, event_id) -- overwritten meanwhile; what came of the attempt still counts
if record.state ~= 'pending' then -- it has ended by another's hand: nothing that comes after that counts
  redis.call('ZREM', leases, entry)
  refresh(endpoint)
  return 'stale'
end
record.attempts, record.claims, record.trigger, record.again = record.attempts + 1, nil, nil, nil
-- A probe ahead of its time: the schedule goes on as if it had not been.
local ahead, early = ahead_of_time(endpoint, record, ARGV[3], lease_end)
if ahead then record.round_from = whole(record.round_from, 0, 0, 1e9) + 1 end
record.early = nil
redis.call('ZREM', leases, entry)
local log = P .. 'attempts:' .. endpoint .. ':' .. event_id
redis.call('RPUSH', log, ARGV[9])
if record.attempts > tonumber(ARGV[10]) then redis.call('LTRIM', log, -tonumber(ARGV[10]), -1) end
count('attempts')
if ARGV[11] ~= '' then count_for(endpoint, ARGV[11]) end
count_all(ARGV[12])
local key = P .. 'endpoint:' .. endpoint
local known, ordering, failures, blocked, recovering, limit, supersede, troubled = unpack(redis.call('HMGET', key,
  'state', 'ordering', 'failures', 'blocked', 'recovering', 'limit', 'supersede', 'troubled'))
local reason, supersedes = ARGV[6], supersede == '1'
local later = supersedes and state == 'pending' and overtaken_by(endpoint, event_id, record)
if later then state, reason = 'superseded', later end
if state == 'pending' then
  redis.call('HSET', P .. 'deliveries:' .. endpoint, event_id, cjson.encode(record))
  local due = now + tonumber(ARGV[5])
  if ahead then -- and once the hold is over, as after a first attempt
    due = math.max(early or now + 5000, now + tonumber(ARGV[8]))
  end
  redis.call('ZADD', P .. 'queue:' .. endpoint, due, event_id)
else
  finish(endpoint, event_id, record, state, reason)
end
if supersedes and state == 'delivered' then note_latest(endpoint, event_id, record) end

if state ~= 'pending' or (ordering and ordering ~= 'strict') then promote(endpoint, record.task, event_id) end
if not known then return 'ok' end
local takes = known == 'active' or known == 'held'
local pause = tonumber(ARGV[8])
if pause > 0 then redis.call('HSET', key, 'paused_until', now + pause) end

-- What those who look after endpoints are to hear of this one.
local function notice(kind, window, said)
  local told = math.max(whole(redis.call('HGET', key, 'told'), 0, 0, 1e14) + 1, now)
  redis.call('HSET', key, 'told', string.format('%.0f', told))
  said.kind, said.endpoint, said.at, said.revision, said.window_ms = kind, endpoint, now, told, window
  redis.pcall('RPUSH', P .. 'notices', cjson.encode(said))
  wake('poll')
end

-- ---------------------------------------------------------------- a success

local function own_cap()
  return cap_of(redis.call('HGET', key, 'cap'))
end

-- So many of those that wait for their next attempt are due now; none is left when there were fewer.
local function hasten(number)
  local queue = P .. 'queue:' .. endpoint
  local waiting = redis.call('ZRANGEBYSCORE', queue, '(' .. now, '+inf', 'LIMIT', 0, number)
  for _, other in ipairs(waiting) do redis.call('ZADD', queue, now, other) end
  if #waiting < number then redis.call('HDEL', key, 'recovering') end
end

local function trust_more()
  local before, calm = whole(limit, 1, 1, 100000), whole(redis.call('HGET', key, 'calm'), 0, 0, 100000) + 1
  redis.call('HSET', key, 'calm', calm)
  if calm < before then return end
  if before + 1 >= own_cap() then
    redis.call('HDEL', key, 'limit', 'limit_from', 'calm')
  else
    redis.call('HSET', key, 'limit', before + 1, 'calm', 0)
  end
end

if effect == 'success' then
  local back = known == 'held'
  if limit then trust_more() end
  if back then
    redis.call('HSET', key, 'state', 'active', 'recovering', 1)
    redis.call('HDEL', key, 'reason')
  end
  if back or (failures or '0') ~= '0' or (blocked or '0') ~= '0' then absolve(key) end
  if troubled and takes then
    redis.call('HDEL', key, 'troubled')
    notice('recovered', 0, {failures = whole(failures, 0, 0, 1e9), failing_since = whole(troubled, now, 0, now)})
  end
  if back then hasten(own_cap()) elseif recovering then hasten(2) end
  refresh(endpoint)
  return back and 'back' or 'ok'
end

-- ---------------------------------------------------------------- a failure

local window = tonumber(ARGV[18])
local since, latest, warned = unpack(redis.call('HMGET', key, 'failing_since', 'failed_at', 'warned'))
local silent = window > 0 and now - whole(latest, now, 0, now) > window
since = not silent and whole(since, now, 0, now) or now
warned = not silent and whole(warned, 0, 0, 100) or 0
redis.call('HSET', key, 'failing_since', string.format('%.0f', since), 'failed_at', now, 'warned', warned)
failures = whole(failures, 0, 0, 1e9) + 1
redis.call('HSET', key, 'failures', failures)
local lasted = now - since

local read, attempt = pcall(cjson.decode, ARGV[9])
if not read or type(attempt) ~= 'table' then attempt = {} end
redis.call('HSET', key, 'last_failure',
  cjson.encode({status_code = attempt.status_code, fault = attempt.fault, detail = attempt.detail}))

local function complain(kind, percent, reason)
  redis.call('HSET', key, 'troubled', string.format('%.0f', since))
  notice(kind, window, {percent = percent, reason = reason, failures = failures, failing_since = since,
    status_code = attempt.status_code, fault = attempt.fault})
end

local function disable(reason)
  if not takes then return 'ok' end
  redis.call('HSET', key, 'state', 'disabled', 'reason', reason, 'disabled_at', now)
  redis.call('HDEL', key, 'probe_at', 'probes')
  complain('disabled', nil, reason)
  return 'disabled'
end

-- Warn of what has passed since the last warning. Replies whether the window is over.
local function warn()
  if window <= 0 or not takes then return false end
  local percent = lasted * 100 / window
  for mark in string.gmatch(ARGV[19], '%d+') do
    if percent >= tonumber(mark) and warned < tonumber(mark) then
      redis.call('HSET', key, 'warned', mark)
      complain('failing', tonumber(mark))
    end
  end
  return percent >= 100
end

-- Fewer at a time, unless this attempt was in flight already when that was last said.
local function ease()
  local cap, from = unpack(redis.call('HMGET', key, 'cap', 'limit_from'))
  if tonumber(lease_end) <= whole(from, 0, 0, now + 3600000) then return end
  cap = cap_of(cap)
  if cap <= 1 then return end
  local latest = math.max(at_score(leases, -1) or 0, tonumber(lease_end))
  redis.call('HSET', key, 'limit', math.max(1, math.floor(math.min(whole(limit, cap, 1, cap), cap) / 2)),
    'limit_from', latest, 'calm', 0)
end

local function judged()
  if effect == 'disable-gone' then return disable('gone') end
  if effect == 'blocked' then
    blocked = whole(blocked, 0, 0, 1e9) + 1
    redis.call('HSET', key, 'blocked', blocked)
    if blocked >= tonumber(ARGV[13]) then return disable('blocked') end
  elseif (blocked or '0') ~= '0' then
    redis.call('HSET', key, 'blocked', 0)
  end
  if warn() then return disable('failing') end
  local probe_at = now + tonumber(ARGV[14])
  if known == 'held' and ARGV[15] ~= '' then
    redis.call('HSET', key, 'probes', tonumber(ARGV[15]) + 1, 'probe_at', probe_at)
  elseif known == 'active' and failures >= tonumber(ARGV[16]) and lasted >= tonumber(ARGV[17]) then
    redis.call('HSET', key, 'state', 'held', 'reason', 'failing', 'probes', 0, 'probe_at', probe_at)
    return 'held'
  end
  return 'ok'
end

if recovering then redis.call('HDEL', key, 'recovering') end
if effect == 'overload' then ease() end
local word = judged()
refresh(endpoint)
return word
