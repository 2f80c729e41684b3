#!lua flags=allow-oom
-- The slow comparison of what clients want with what is watched, a page a call; nothing depends on it for speed.
-- ARGV  what, how long an option hash may lack a member (ms), then members up to the last but one argument
-- watch: a member that its client took back is unwatched, unless it is leased just now (its commit will see to that);
--   one whose callback is not to be found is asked for again, which brings it; a doubt from the future (the clock jumped
--   back) is as old as this page
-- tasks: a member taken in (+inf) that nobody watches (Redis was rolled back) is asked for again
-- orphans: the note that an option hash lacks its member, where the hash is gone or has one: the next time counts anew
-- options: an option hash, or whatever somebody wrote in its place, that has lacked a member for long is deleted
-- Reply how many were put right
local what, patience, righted = ARGV[1], tonumber(ARGV[2]), 0
local orphans = P .. 'orphans'

local function right_watch(member)
  local key = P .. 'watch:' .. member
  local known = redis.call('HMGET', key, 'token', 'callback', 'doubted_at', 'absent_since')
  if not wanted(member) then
    if known[1] then return false end
    unwatch(member)
    return true
  end
  for i, field in ipairs({'doubted_at', 'absent_since'}) do
    if (tonumber(known[2 + i] or '') or 0) > now then redis.call('HSET', key, field, now) end
  end
  local callback = known[2] or ''
  if callback == '' then return false end
  local counted = redis.call('HEXISTS', P .. 'endpoint:' .. callback, 'watchers') == 1
  if counted and redis.call('HEXISTS', P .. 'registry', callback) == 1 then return false end
  if redis.pcall('ZSCORE', P .. 'tasks', member) ~= 'inf' then return false end
  if not counted then redis.call('HDEL', key, 'callback') end -- its count went with the hash: it is counted anew
  redis.call('ZADD', P .. 'tasks', 'XX', 0, member)
  return true
end

local function right(member)
  if what == 'watch' then
    return right_watch(member)
  elseif what == 'tasks' then
    local taken = redis.call('ZSCORE', P .. 'tasks', member) == 'inf'
    if not taken or redis.call('ZSCORE', P .. 'watch', member) then return false end
    redis.call('ZADD', P .. 'tasks', 'XX', 0, member)
    return true
  elseif what == 'orphans' then
    if not wanted(member) and redis.call('EXISTS', P .. 'task:' .. member) == 1 then return false end
    redis.call('ZREM', orphans, member)
    return true
  end
  if wanted(member) then
    redis.call('ZREM', orphans, member)
    return false
  end
  redis.call('ZADD', orphans, 'NX', now, member)
  if tonumber(redis.call('ZSCORE', orphans, member)) > now - patience then return false end
  redis.call('ZREM', orphans, member)
  redis.call('DEL', P .. 'task:' .. member)
  return true
end

for i = 3, #ARGV - 1 do
  if right(ARGV[i]) then righted = righted + 1 end
end
return righted
