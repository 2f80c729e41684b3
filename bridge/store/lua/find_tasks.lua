#!lua
-- A page of the list was read for a watch: register what is new on it, and remember how far the search has come, at once.
-- ARGV  1 token, 2 lease ms, 3 field of the watch, 4 its text, 5 <kind>:<field> of the search, 6 its state, 7 n, then n
--       members, then pairs (option, value) for each new member up to the last but one argument
-- Steps: nothing if somebody else finds, or if the watch was changed or taken back meanwhile. A member is known that is
--   registered, watched, was watched (as long as that is remembered) or was refused; the others are registered as by any
--   client, with the options of the watch unless they have some.
-- Reply {'ok', how many were registered}, {'stale'}, {'moved'} or {'broken'} (bridge:tasks is no sorted set)
local finding, field, n = P .. 'finding', ARGV[3], tonumber(ARGV[7])
if redis.call('HGET', finding, 'token') ~= ARGV[1] then return {'stale'} end
if redis.call('HGET', P .. 'watches', field) ~= ARGV[4] then return {'moved'} end
local kind = redis.call('TYPE', P .. 'tasks').ok
if kind ~= 'zset' and kind ~= 'none' then return {'broken'} end

local function is_known(member)
  return redis.call('ZSCORE', P .. 'tasks', member) or redis.call('ZSCORE', P .. 'watch', member)
    or redis.call('ZSCORE', P .. 'ended', member) or redis.call('EXISTS', P .. 'snapshot:' .. member) == 1
    or redis.pcall('HEXISTS', P .. 'rejected', 'task:' .. member) == 1
end

local options, registered = {}, 0
for i = 8 + n, #ARGV - 1 do options[#options + 1] = ARGV[i] end
for i = 8, 7 + n do
  local member = ARGV[i]
  if not is_known(member) then
    local key = P .. 'task:' .. member
    if #options > 0 and redis.call('EXISTS', key) == 0 then redis.call('HSET', key, unpack(options)) end
    redis.call('ZADD', P .. 'tasks', 'NX', 0, member)
    registered = registered + 1
  end
end
redis.call('HSET', finding, 'state:' .. ARGV[5], ARGV[6], 'until', now + tonumber(ARGV[2]))
if registered > 0 then
  redis.pcall('HINCRBY', finding, 'found:' .. ARGV[5], registered)
  wake('poll')
end
return {'ok', registered}
