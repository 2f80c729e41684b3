#!lua
-- A client's key that had the wrong type is right again, or gone: write back what was registered before, unless it is there.
-- To lose the key was an accident of somebody's, and no removal; who meant one removes it now.
-- ARGV  nothing but the time, which this does not need
-- Steps, for each of the two keys: nothing if it still is wrong, or never was (bridge:rejected says so); then write back,
--   and forget that word.
-- Reply how many were written back
local back = 0

local function was_wrong(key, wanted)
  local kind = redis.call('TYPE', key).ok
  return (kind == 'none' or kind == wanted) and redis.pcall('HEXISTS', P .. 'rejected', 'key:' .. key) == 1
end

if was_wrong(P .. 'endpoints', 'hash') then
  for _, name in ipairs(redis.call('HKEYS', P .. 'registry')) do
    local raw = redis.call('HGET', P .. 'endpoint:' .. name, 'raw')
    if raw and raw ~= '' then back = back + redis.call('HSETNX', P .. 'endpoints', name, raw) end
  end
  redis.call('HDEL', P .. 'rejected', 'key:' .. P .. 'endpoints')
end
if was_wrong(P .. 'tasks', 'zset') then
  for _, member in ipairs(redis.call('ZRANGE', P .. 'watch', 0, -1)) do
    back = back + redis.call('ZADD', P .. 'tasks', 'NX', '+inf', member)
  end
  redis.call('HDEL', P .. 'rejected', 'key:' .. P .. 'tasks')
end
return back
