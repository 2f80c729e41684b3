#!lua flags=allow-oom
-- The slow comparison of what clients want with what is watched, a page a call; nothing depends on it for speed.
-- ARGV  what, how long an option hash may lack a member (ms), then members up to the last but one argument
-- watch: a member that its client took back is unwatched, unless it is leased just now (its commit will see to that)
-- tasks: a member taken in (+inf) that nobody watches (Redis was rolled back) is asked for again
-- orphans: the note that an option hash lacks its member, where the hash is gone or has one: the next time counts anew
-- options: an option hash, or whatever somebody wrote in its place, that has lacked a member for long is deleted
-- Reply how many were put right
local what, patience, righted = ARGV[1], tonumber(ARGV[2]), 0
local orphans = P .. 'orphans'

local function right(member)
  if what == 'watch' then
    if wanted(member) or redis.call('HEXISTS', P .. 'watch:' .. member, 'token') == 1 then return false end
    unwatch(member)
    return true
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
