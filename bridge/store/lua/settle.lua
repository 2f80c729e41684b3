#!lua flags=allow-oom
-- Record what an attempt came to and move its delivery on, in one step. Our lease is the proof that it is ours to say.
-- ARGV  1 endpoint, 2 event id, 3 token, 4 state (pending, delivered, dead), 5 retry in ms, 6 reason,
--       7 effect (success, failure, overload, disable-gone, blocked), 8 pause ms, 9 attempt JSON, 10 attempts kept,
--       11 blocked attempts in a row that disable, 12 ms until the next probe, if there is one, 13 probes that failed
--       before this one or '' for an ordinary attempt, 14 failures in a row that open the breaker, if 15 the first of
--       them is at least so many ms ago, 16 failure window ms (0: none), 17 percents of it at which to warn, by spaces
-- Steps: lease; attempt count and log; due again, or ended; the next one of this task is promoted after the first
--   attempt (after the end, if ordering is strict); what it means for the endpoint; its next moment.
--   Any success closes the breaker, and what was to be tried again later is due then: as much as the endpoint's cap at
--   once, and two more at each success that follows without a failure between them.
--   Overload halves how many attempts the endpoint may have in flight, once for all that were in flight then; after as
--   many successes as it may have, it is one more, up to its cap.
--   Failing for so much of the window is told once each, and so is the end of it; what is to be told waits in
--   bridge:notices until tell.lua makes an event of it.
-- Reply 'ok', 'stale' (the lease ended, or it was settled before), or ok and the endpoint now is 'held' (its breaker
--   opened), 'back' (it closed) or 'disabled'
local endpoint, event_id, state, effect = ARGV[1], ARGV[2], ARGV[4], ARGV[7]
local leases = P .. 'leases:' .. endpoint
local entry = event_id .. '/' .. ARGV[3]
local record = record_of(endpoint, event_id)
local lease_end = redis.call('ZSCORE', leases, entry)
if record == nil or not lease_end then return 'stale' end

record = record or record_from_event(endpoint, event_id) -- overwritten meanwhile; what came of the attempt still counts
record.attempts, record.claims, record.trigger = record.attempts + 1, nil, nil
redis.call('ZREM', leases, entry)
local log = P .. 'attempts:' .. endpoint .. ':' .. event_id
redis.call('RPUSH', log, ARGV[9])
redis.call('LTRIM', log, -tonumber(ARGV[10]), -1)
count('attempts')
if state == 'pending' then
  redis.call('HSET', P .. 'deliveries:' .. endpoint, event_id, cjson.encode(record))
  redis.call('ZADD', P .. 'queue:' .. endpoint, now + tonumber(ARGV[5]), event_id)
else
  finish(endpoint, event_id, record, state, ARGV[6])
end

local key = P .. 'endpoint:' .. endpoint
local known = redis.call('HMGET', key, 'state', 'ordering', 'failures', 'blocked', 'failing_since', 'recovering', 'cap',
  'warned', 'told', 'limit', 'limit_from')
if state ~= 'pending' or (known[2] and known[2] ~= 'strict') then promote(endpoint, record.task, event_id) end
if not known[1] then return 'ok' end
local word = 'ok'

-- So many of those that wait for their next attempt are due now; none is left when there were fewer.
local function hasten(number)
  local queue = P .. 'queue:' .. endpoint
  local waiting = redis.call('ZRANGEBYSCORE', queue, '(' .. now, '+inf', 'LIMIT', 0, number)
  for _, other in ipairs(waiting) do redis.call('ZADD', queue, now, other) end
  if #waiting < number then redis.call('HDEL', key, 'recovering') end
end

local function ease()
  if tonumber(lease_end) <= (tonumber(known[11] or '') or 0) then return end -- claimed before the last halving
  local cap = cap_of(known[7])
  local limit = math.max(1, math.floor(math.min(tonumber(known[10] or '') or cap, cap) / 2))
  local latest = at_score(leases, -1) or tonumber(lease_end)
  redis.call('HSET', key, 'limit', limit, 'limit_from', math.max(latest, tonumber(lease_end)), 'calm', 0)
end

local function trust_more()
  local limit = tonumber(known[10]) or 1
  if redis.call('HINCRBY', key, 'calm', 1) < limit then return end
  if limit + 1 >= cap_of(known[7]) then
    redis.call('HDEL', key, 'limit', 'limit_from', 'calm')
  else
    redis.call('HSET', key, 'limit', limit + 1, 'calm', 0)
  end
end

local function succeeded()
  if known[10] then trust_more() end
  if known[1] == 'held' then
    word = 'back'
    redis.call('HSET', key, 'state', 'active', 'recovering', 1)
    redis.call('HDEL', key, 'reason')
  end
  if (known[3] or '0') ~= '0' or (known[4] or '0') ~= '0' or word == 'back' then absolve(key) end
  if word == 'back' then hasten(cap_of(known[7])) elseif known[6] then hasten(2) end
end

local since, window = tonumber(known[5] or '') or now, tonumber(ARGV[16])
local failures, told = 0, tonumber(known[9] or '') or 0

local function notice(kind, percent, reason)
  local read, attempt = pcall(cjson.decode, ARGV[9])
  if not read or type(attempt) ~= 'table' then attempt = {} end
  told = math.max(told + 1, now)
  redis.call('HSET', key, 'told', string.format('%.0f', told))
  redis.pcall('RPUSH', P .. 'notices', cjson.encode({kind = kind, percent = percent, reason = reason,
    endpoint = endpoint, at = now, revision = told, failures = failures, failing_since = since, window_ms = window,
    status_code = attempt.status_code, fault = attempt.fault}))
  wake('poll')
end

local function disable(reason)
  if known[1] ~= 'active' and known[1] ~= 'held' then return end
  word = 'disabled'
  redis.call('HSET', key, 'state', 'disabled', 'reason', reason, 'disabled_at', now)
  redis.call('HDEL', key, 'probe_at', 'probes')
  notice('disabled', nil, reason)
end

-- Warn of what has come since the last warning. Replies whether the window is over.
local function warn()
  if window <= 0 or (known[1] ~= 'active' and known[1] ~= 'held') then return false end
  local percent, warned = (now - since) * 100 / window, tonumber(known[8] or '') or 0
  for mark in string.gmatch(ARGV[17], '%d+') do
    if percent >= tonumber(mark) and warned < tonumber(mark) then
      redis.call('HSET', key, 'warned', mark)
      notice('failing', tonumber(mark))
    end
  end
  return percent >= 100
end

local function failed()
  failures = redis.call('HINCRBY', key, 'failures', 1)
  if effect == 'overload' then ease() end
  if not known[5] then redis.call('HSET', key, 'failing_since', now) end
  if known[6] then redis.call('HDEL', key, 'recovering') end
  local blocked = known[4] or '0'
  if effect == 'blocked' then
    blocked = redis.call('HINCRBY', key, 'blocked', 1)
  elseif blocked ~= '0' then
    redis.call('HSET', key, 'blocked', 0)
  end
  if effect == 'disable-gone' then
    disable('gone')
  elseif effect == 'blocked' and blocked >= tonumber(ARGV[11]) then
    disable('blocked')
  elseif warn() then
    disable('failing')
  elseif known[1] == 'held' and ARGV[13] ~= '' then
    redis.call('HSET', key, 'probes', tonumber(ARGV[13]) + 1, 'probe_at', now + tonumber(ARGV[12]))
  elseif known[1] == 'active' and failures >= tonumber(ARGV[14]) and now - since >= tonumber(ARGV[15]) then
    word = 'held'
    redis.call('HSET', key, 'state', 'held', 'reason', 'failing', 'probes', 0, 'probe_at', now + tonumber(ARGV[12]))
  end
end

local pause = tonumber(ARGV[8])
if pause > 0 then redis.call('HSET', key, 'paused_until', now + pause) end
if effect == 'success' then succeeded() else failed() end
refresh(endpoint)
return word
