#!lua flags=allow-oom
-- with: budget
-- Redis' clock may jump back (a corrected date, a host resumed from a snapshot). Whatever was scheduled by the old clock
-- would then wait until the new one has come as far: an hour of nothing, say. So each sweep records the clock, and
-- whoever finds it more than two seconds behind its record pulls back what lies ahead by the difference.
-- ARGV  (none but now)
-- Steps: the clock is where it was or further: record it. A little behind: wait. Far behind: all due moments ahead of
--   now, ends of leases, rests, probes, live shifts, spent grants and the ends of holds move back together, and the
--   record with them. How far the clock is behind where it has been stays known, for revisions, which never go back
--   (clock_behind in the prelude).
-- The record is at most a sweep old, so things come at most that much late, and no lease ends early. A clock that went
-- forward and is put right again makes what was scheduled before come early, by as much: a retry too soon is harmless.
-- One step for all of it, as a half-moved schedule could not be told from a moved one: about 2 ms per thousand entries
-- that lie ahead, and a jump is rare. Moments of doubt are the watch pages' (sweep.lua); retention just comes later.
-- Reply by how many ms it was pulled back, else 0
local recorded = tonumber(redis.call('HGET', P .. 'meta', 'clock') or '') or 0
if now >= recorded then
  if now > recorded then redis.call('HSET', P .. 'meta', 'clock', now) end
  return 0
end
local by = recorded - now
if by <= 2000 then return 0 end
local behind = clock_behind()

local function pull_back(zset)
  local ahead = redis.call('ZRANGEBYSCORE', zset, '(' .. now, '(+inf', 'WITHSCORES')
  for first = 1, #ahead, 1000 do
    local moved = {}
    for i = first, math.min(first + 999, #ahead), 2 do
      moved[#moved + 1] = tonumber(ahead[i + 1]) - by
      moved[#moved + 1] = ahead[i]
    end
    redis.call('ZADD', zset, unpack(moved))
  end
end

for _, name in ipairs({'watch', 'ready', 'pauses', 'shifts:poll', 'shifts:deliver', 'workers:poll', 'workers:deliver'}) do
  pull_back(P .. name)
end
for _, endpoint in ipairs(redis.call('SMEMBERS', P .. 'names')) do
  pull_back(P .. 'queue:' .. endpoint)
  pull_back(P .. 'leases:' .. endpoint)
  local key = P .. 'endpoint:' .. endpoint
  for _, field in ipairs({'paused_until', 'probe_at', 'failing_since', 'failed_at', 'resumed_at', 'recovered_at'}) do
    local moment = tonumber(redis.call('HGET', key, field) or '')
    if moment and moment > now then redis.call('HSET', key, field, moment - by) end
  end
end
local spent = P .. 'spent:default'
local grants = grants_of('default')
redis.call('DEL', spent)
for _, grant in ipairs(grants) do
  local second = grant.second
  if second * 1000 > now then second = second - math.floor(by / 1000) end
  redis.call('HINCRBY', spent, second .. grant.by, grant.number)
end
count('clock_jumps')
redis.call('HSET', P .. 'meta', 'clock', now, 'clock_behind', behind)
return by
