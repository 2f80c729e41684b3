#!lua flags=allow-oom
-- with: renew
-- with: supersede
-- Lease due deliveries, fairly over the endpoints whose moment has come.
-- ARGV  slots, lease ms, token, claims without a settle that make a delivery poison, endpoints looked at a call,
--       bound on bridge:rejected
-- Steps per endpoint, the one that waited longest first: return leases that ended to the queue (their attempt may or may
--   not have gone out, so the next one of that task is promoted); move due deliveries to leases while the endpoint's cap,
--   its rate and our slots last; say when it next has something to do. A held endpoint for which nothing is due is asked by
--   one ahead of its time, which it keeps: each in turn, and at the price of an attempt's number alone. What cannot be sent,
--   its record being nonsense or its body lost, ends as a dead letter instead, and costs those claimed beside it nothing.
--   Nor does an endpoint one of whose keys somebody wrote over: it waits for the sweep, which mends it; nor one that cannot
--   be served for any other reason, which bridge:rejected names. Progress that a later event of its task has overtaken ends
--   as superseded, where its endpoint asks for that.
-- Reply {now, next moment ms or '', version of the endpoint set, hand-outs waiting 0|1,
--        then per delivery {endpoint, event id, type, task, revision, made at ms, attempts, trigger or '', attempts
--        that do not count on the schedule, when it last started anew (ms) or '', probes that failed before if this is
--        one or '', when it is due if that is ahead (ms) or '', body}}
local slots, lease, token = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local poison, breadth, bound = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local claimed, broken_ms = {}, 5000

local function reclaim(endpoint)
  local leases = P .. 'leases:' .. endpoint
  for _, entry in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 100)) do
    local event_id, held_by = string.match(entry, '^(.*)/(.*)$')
    event_id = event_id or ''
    local record, lease_end = record_of(endpoint, event_id), redis.call('ZSCORE', leases, entry)
    redis.call('ZREM', leases, entry)
    if record == false then
      put_aside(endpoint, event_id, bound)
    elseif record then
      record.claims = (tonumber(record.claims) or 0) + 1
      if record.claims >= poison then
        finish(endpoint, event_id, record, 'dead', 'poison')
        promote(endpoint, record.task, event_id)
      else
        -- What was brought back meanwhile may stand at the head of the line by now: then it has its turn after that.
        local place = place_of(endpoint, record.task, event_id)
        record.again = place and place > 0 or nil
        redis.call('HSET', P .. 'deliveries:' .. endpoint, event_id, cjson.encode(record))
        if not record.again then
          local _, early = ahead_of_time(endpoint, record, held_by, lease_end)
          redis.call('ZADD', P .. 'queue:' .. endpoint, early or now, event_id)
          if (redis.call('HGET', P .. 'endpoint:' .. endpoint, 'ordering') or 'strict') ~= 'strict' then
            promote(endpoint, record.task, event_id)
          end
        end
      end
    end
  end
end

-- What is due; or, of a held endpoint for which nothing is, one that is not, each in turn, and when it will be. Whose turn
-- it is moves on with each claim, whatever comes of it: one that cannot be attempted must not stand for all others.
local function next_ones(endpoint, free, probes)
  local queue, key = P .. 'queue:' .. endpoint, P .. 'endpoint:' .. endpoint
  local due = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', 0, free)
  local waiting = probes and #due == 0 and redis.call('ZCARD', queue) or 0
  if waiting == 0 then return due, nil end
  local turn = whole(redis.call('HGET', key, 'turn'), 0, 0, 1e9)
  local one = redis.call('ZRANGE', queue, turn % waiting, turn % waiting, 'WITHSCORES')
  redis.call('HSET', key, 'turn', turn + 1)
  return {one[1]}, whole(one[2], now, now, 1e14)
end

local function take(endpoint, free, probes)
  local resumed, supersedes = unpack(redis.call('HMGET', P .. 'endpoint:' .. endpoint, 'resumed_at', 'supersede'))
  local hold = resumed or ''
  resumed = whole(resumed, nil, 0, 1e14)
  local queue, leases = P .. 'queue:' .. endpoint, P .. 'leases:' .. endpoint
  local chosen, early = next_ones(endpoint, free, probes)
  for _, event_id in ipairs(chosen) do
    redis.call('ZREM', queue, event_id)
    local record = record_of(endpoint, event_id)
    local body = body_of(event_id)
    local later = record and record.state == 'pending' and supersedes and overtaken_by(endpoint, event_id, record)
    if record == false then
      put_aside(endpoint, event_id, bound)
    elseif record and record.state ~= 'pending' then -- it has ended; somebody put it there by hand
      promote(endpoint, record.task, event_id)
    elseif later then
      finish(endpoint, event_id, record, 'superseded', later)
      promote(endpoint, record.task, event_id)
    elseif record and not body then
      finish(endpoint, event_id, record, 'dead', 'body-lost')
      promote(endpoint, record.task, event_id)
    elseif record then
      local renewed, before = renew(record, resumed), record.early
      record.early = early and string.format('%s %.0f %s', token, early - now - lease, hold) or nil
      if renewed or before ~= record.early then
        redis.call('HSET', P .. 'deliveries:' .. endpoint, event_id, cjson.encode(record))
      end
      redis.call('ZADD', leases, now + lease, event_id .. '/' .. token)
      claimed[#claimed + 1] = {endpoint, event_id, record.type, record.task, tostring(record.revision),
        tonumber(record.created), record.attempts, type(record.trigger) == 'string' and record.trigger or '',
        tonumber(record.round_from) or 0, tonumber(record.round_at) or '', probes or '', early or '', body}
    else -- its record was deleted by hand, and must not hold its successors back
      promote(endpoint, record_from_event(endpoint, event_id).task, event_id)
    end
  end
end

local function serve(endpoint)
  local limits = limits_of(endpoint)
  if limits then
    reclaim(endpoint)
    local live = redis.call('ZCOUNT', P .. 'leases:' .. endpoint, '(' .. now, '+inf')
    local free, before = math.min(limits.cap - live, slots - #claimed), #claimed
    if limits.interval then free = math.min(free, allowed_by_rate(limits)) end
    if free > 0 and limits.from <= now then take(endpoint, free, limits.probes) end
    if limits.interval and #claimed > before then
      local spent = limits.spent + limits.interval * (#claimed - before)
      redis.call('HSET', P .. 'endpoint:' .. endpoint, 'rate_at', string.format('%.3f', spent))
    end
  end
  refresh(endpoint, true)
end

for _, endpoint in ipairs(redis.call('ZRANGEBYSCORE', P .. 'ready', '-inf', now, 'LIMIT', 0, breadth)) do
  local served, fault = pcall(serve, endpoint)
  if not served then
    redis.call('ZADD', P .. 'ready', now + broken_ms, endpoint)
    local why = tostring(type(fault) == 'table' and fault.err or fault)
    if not string.find(why, 'WRONGTYPE', 1, true) then -- that the sweep says, and mends
      local key = P .. 'endpoint:' .. endpoint
      remember_rejection('key:' .. key, cjson.encode({field = '', value = '', at = now,
        reason = 'endpoint ' .. endpoint .. ' cannot be served: ' .. string.sub(why, 1, 300),
        fix = 'look at ' .. key .. ' for what somebody wrote there, then HDEL ' .. P .. 'rejected key:' .. key}), bound)
    end
  end
  if #claimed >= slots then break end
end

local reply = {now, at_score(P .. 'ready', 0) or '', redis.call('HGET', P .. 'meta', 'endpoints_version') or '0',
  redis.call('EXISTS', P .. 'fanout')}
for _, delivery in ipairs(claimed) do reply[#reply + 1] = delivery end
return reply
