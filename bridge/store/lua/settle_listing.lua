#!lua flags=allow-oom
-- A pass over the list is over, or goes on.
-- ARGV  account, token, word (more, done, failed), ms: until the lease ends (more), or from the beginning of this pass
--       to that of the next (done, failed), mark ms or '' for the one before, ms that listing rests, ms until the next
--       deep pass if this was one, else ''
-- Steps: nothing if the lease went to somebody else.
-- Reply 'ok' or 'stale'
local key, word, ms = P .. 'listing:' .. ARGV[1], ARGV[3], tonumber(ARGV[4])
if redis.call('HGET', key, 'token') ~= ARGV[2] then return 'stale' end
if word == 'more' then
  redis.call('HSET', key, 'until', now + ms)
  return 'ok'
end
redis.call('HDEL', key, 'token', 'until')
local began = tonumber(redis.call('HGET', key, 'began') or '') or now
redis.call('HSET', key, 'due', began + ms, 'rests', now + tonumber(ARGV[6]))
if ARGV[5] ~= '' then redis.call('HSET', key, 'mark', ARGV[5]) end
if word == 'done' then redis.call('HSET', key, 'listed', now) end
if word == 'done' and ARGV[7] ~= '' then redis.call('HSET', key, 'deep', now + tonumber(ARGV[7])) end
return 'ok'
