#!lua flags=allow-oom
-- Take on to ask receivers for their consent, those that have waited longest. Whoever takes one on and dies leaves it due
-- when the lease ends; it is asked twice then, which harms nobody.
-- ARGV  slots, lease ms
-- Steps: each is due again when the lease ends, unless an answer says otherwise before; one that needs no consent any more
--   is forgotten.
-- Reply {now, next moment ms or '', version of the endpoint set, then name, tries in a row without an answer, …}
local slots, lease, waiting = tonumber(ARGV[1]), tonumber(ARGV[2]), P .. 'unconfirmed'
local kind = redis.call('TYPE', waiting).ok
if kind ~= 'zset' and kind ~= 'none' then redis.call('DEL', waiting) end -- somebody wrote over it; the sweep fills it again
local taken = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', waiting, '-inf', now, 'LIMIT', 0, slots)) do
  local key = P .. 'endpoint:' .. name
  if unconfirmed(key) then
    redis.call('ZADD', waiting, now + lease, name)
    taken[#taken + 1], taken[#taken + 2] = name, whole(redis.call('HGET', key, 'unheard'), 0, 0, 1000000)
  else
    redis.call('ZREM', waiting, name)
  end
end
local reply = {now, at_score(waiting, 0) or '', redis.call('HGET', P .. 'meta', 'endpoints_version') or '0'}
for _, one in ipairs(taken) do reply[#reply + 1] = one end
return reply
