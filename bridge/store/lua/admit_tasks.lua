#!lua
-- Take in tasks that a client asked for in bridge:tasks, options already validated: each becomes due at once.
-- ARGV  n, then n x (member, options JSON, expires_at ms or '', implicit endpoint of its callback_url or '')
-- Steps per member: skip it unless its score still is a request, and its callback still is in force (it is looked at
--   again); mark the request as taken (+inf); remember the options; make it due, after the lease if it is leased just now.
--   A task seen before is to be announced to those who miss it, and so is one that now names others to hear of it.
--   A callback that was disabled is active again: no HSET could do that, so asking for its task does.
-- Reply how many were taken in
local function audience(options)
  local known = cjson.decode(options)
  local names = type(known.endpoints) == 'table' and table.concat(known.endpoints, ',') or '*'
  return names .. ' ' .. (type(known.callback) == 'string' and known.callback or '')
end

local function admit(member, options, expires, callback)
  local key = P .. 'watch:' .. member
  local seen = redis.call('EXISTS', P .. 'snapshot:' .. member) == 1
  redis.call('ZADD', P .. 'tasks', 'XX', '+inf', member)
  if not redis.call('ZSCORE', P .. 'watch', member) then
    redis.call('DEL', key)
    redis.call('HSET', key, 'since', now)
    if seen then redis.call('HSET', key, 'announce', '1') end
    redis.call('ZADD', P .. 'watch', now, member)
    redis.call('ZREM', P .. 'ended', member)
    count('tasks')
  else
    local before, token = unpack(redis.call('HMGET', key, 'options', 'token'))
    if (seen or token) and before and audience(before) ~= audience(options) then
      redis.call('HSET', key, 'announce', '1') -- a commit of whoever has the lease goes by the names of before
    end
    if token then
      redis.call('HSET', key, 'again', '1')
    else
      redis.call('ZADD', P .. 'watch', now, member)
    end
  end
  rely_on(member, callback)
  if callback ~= '' and redis.call('HGET', P .. 'endpoint:' .. callback, 'state') == 'disabled' then
    activate(callback)
  end
  redis.call('HSET', key, 'options', options, 'expires', expires)
  redis.pcall('HDEL', P .. 'rejected', 'task:' .. member)
  redis.call('ZREM', P .. 'orphans', member)
end

local taken = 0
for i = 0, tonumber(ARGV[1]) - 1 do
  local member, options, expires, callback = unpack(ARGV, 2 + i * 4, 5 + i * 4)
  local score = tonumber(redis.call('ZSCORE', P .. 'tasks', member))
  local settled = callback == '' or redis.call('HEXISTS', P .. 'registry', callback) == 1
  if score and score * 1000 <= now and settled then
    admit(member, options, expires, callback)
    taken = taken + 1
  end
end
return taken
