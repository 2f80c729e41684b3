#!lua
-- Take in tasks that a client asked for in bridge:tasks, options already validated: each becomes due at once.
-- ARGV  n, then n x (member, options JSON, expires_at ms or '', implicit endpoint of its callback_url or '')
-- Steps per member: skip it unless its score still is a request; mark the request as taken (+inf); remember the options;
--   make it due, after the lease if it is leased just now; a task seen before is to be announced to those who miss it.
-- Reply how many were taken in
local taken = 0
for i = 0, tonumber(ARGV[1]) - 1 do
  local at = 2 + i * 4
  local member, options, expires, callback = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local score = tonumber(redis.call('ZSCORE', P .. 'tasks', member))
  if score and score * 1000 <= now then
    local key = P .. 'watch:' .. member
    redis.call('ZADD', P .. 'tasks', 'XX', '+inf', member)
    if not redis.call('ZSCORE', P .. 'watch', member) then
      redis.call('DEL', key)
      redis.call('HSET', key, 'since', now)
      if redis.call('EXISTS', P .. 'snapshot:' .. member) == 1 then redis.call('HSET', key, 'announce', '1') end
      redis.call('ZADD', P .. 'watch', now, member)
      redis.call('ZREM', P .. 'ended', member)
      count('tasks')
    elseif redis.call('HEXISTS', key, 'token') == 1 then
      redis.call('HSET', key, 'again', '1')
    else
      redis.call('ZADD', P .. 'watch', now, member)
    end
    rely_on(member, callback)
    redis.call('HSET', key, 'options', options, 'expires', expires)
    redis.call('HDEL', P .. 'rejected', 'task:' .. member)
    redis.call('ZREM', P .. 'orphans', member)
    taken = taken + 1
  end
end
return taken
