#!lua flags=allow-oom
-- Upstream's list is not asked for a while, and nobody relies on it: it is of no use, or it told what is not so.
-- ARGV  1 account, 2 token of whoever lists, or '' for one who read a task by id and found a change, 3 rest ms, 4 the longest
--       rest ms: of a list that lied again, each rest is twice the one before; the same as 3 if this is no lie, 5 why,
--       and of such a change: 6 how long ago it was made ms, 7 since when the task was left to the list ms, 8 how much
--       earlier than the beginning of a complete pass a change is that the pass should have shown, ms
-- Steps: nothing if the lease went to somebody else, or if no pass should have shown the change: the task was left to the
--   list before it was made, while the list was trusted, and a complete pass began long enough after it. Else the list
--   rests, what was known of it is forgotten, and whoever looks next has everything read by id (`hasten_tasks`).
-- Reply {'rests', ms}, or {'stale'}
local key, token = P .. 'listing:' .. ARGV[1], ARGV[2]
local kind = redis.call('TYPE', key).ok
if kind ~= 'hash' then return {'stale'} end
local known = redis.call('HMGET', key, 'token', 'listed', 'from', 'since', 'lies')
local listed = whole(known[2], 0, 0, now + 1000)
if token ~= '' then
  if known[1] ~= token then return {'stale'} end
else
  local changed, relied = now - tonumber(ARGV[6]), tonumber(ARGV[7])
  local from, since = whole(known[3], 0, 0, now), whole(known[4], now, 0, now)
  if listed == 0 or relied < since or changed <= relied or changed >= from - tonumber(ARGV[8]) then return {'stale'} end
end
local lies = whole(known[5], 0, 0, 20)
local lied = tonumber(ARGV[4]) > tonumber(ARGV[3])
local rest = lied and math.min(ARGV[3] * 2 ^ lies, tonumber(ARGV[4])) or tonumber(ARGV[3])
redis.call('HDEL', key, 'token', 'until', 'mark', 'deep', 'since', 'from')
redis.call('HSET', key, 'rests', now + rest, 'why', ARGV[5])
if known[2] then redis.call('HSET', key, 'listed', 0) end
if lied then redis.call('HSET', key, 'lies', lies + 1) end
return {'rests', rest}
