#!lua flags=allow-oom
-- with: budget
-- with: lease_task
-- Lease due tasks: each one's due moment moves to the lease's end, and the token is the proof that it is ours.
-- ARGV  slots, lease ms, token, account, requests per minute (0: no bound of ours),
--       reason JSON for a snapshot, or a watch, that is not a hash, bound on bridge:rejected,
--       what was counted since the last claim
-- Steps: what is known of the account is forgotten where somebody wrote over it; nothing while it rests; no more than its
--   budget leaves, of which a third is for the list while somebody has asked for that within a minute; a task that its client
--   took back or that expired is unwatched instead; while the key is refused one task a minute is let through, as a probe.
--   Where the budget leaves none, the account says until when, and of how many, so that whoever looks knows why.
-- Reply {now, next moment ms or '', probe 0|1, ms that the clock is behind where it has been, then per task {member, due
--   ms, fields of bridge:watch:<member> and of bridge:snapshot:<member> in the order of parts/lease_task.lua}}
local slots, lease, token, account, per_minute = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local broken, bound = ARGV[6], tonumber(ARGV[7])
count_all(ARGV[8])
local watch, pauses = P .. 'watch', P .. 'pauses'

for name, kind in pairs({[pauses] = 'zset', [P .. 'account:' .. account] = 'hash'}) do
  local found = redis.call('TYPE', name).ok
  if found ~= kind and found ~= 'none' then redis.call('DEL', name) end
end
local paused_until = tonumber(redis.call('ZSCORE', pauses, account) or 0)
if paused_until > now then return {now, paused_until, 0, 0} end

local probe = redis.call('HGET', P .. 'account:' .. account, 'state') == 'refused'
if probe then slots = 1 end

local left, more_at, listed = left_of(account, per_minute)
if per_minute > 1 then
  local began = whole(redis.pcall('HGET', P .. 'listing:' .. account, 'began'), 0, 0, now)
  local waits = whole(redis.call('HGET', P .. 'account:' .. account, 'waits'), 0, 0, now + 80000)
  if now - began <= 60000 then
    left = left - math.max(0, math.ceil(per_minute / 3) - listed)
    more_at = math.min(more_at, now + 1000)
  elseif waits > now then -- one place is kept for a page that was asked for in vain
    left, more_at = left - 1, math.min(more_at, waits)
  end
end
slots = math.min(slots, left)
if left <= 0 then
  redis.call('HSET', P .. 'account:' .. account, 'spent_until', string.format('%.0f', more_at), 'bound', per_minute)
  return {now, more_at, 0, 0}
end

local claimed = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', watch, '-inf', now, 'LIMIT', 0, math.max(slots, 0))) do
  claimed[#claimed + 1] = lease_task(member, lease, token, broken, bound)
end

spend(account, per_minute, #claimed)
if probe and #claimed > 0 then redis.call('ZADD', pauses, now + 60000, account) end
local reply = {now, at_score(watch, 0) or '', probe and 1 or 0, clock_behind()}
for _, task in ipairs(claimed) do reply[#reply + 1] = task end
return reply
