#!lua flags=allow-oom
-- A pass over the list is over, or goes on.
-- ARGV  account, token, word (more, done, failed), ms: until the lease ends (more), or from the beginning of this pass
--       to that of the next (done, failed), mark ms or '' for the one before, ms until the next deep pass if this was one,
--       else '', why it failed, ms that upstream then asked to be left alone with it
-- Steps: nothing if the lease went to somebody else. A list is trusted since its first complete pass; after a day without
--   a lie, those of before are forgotten.
-- Reply 'ok' or 'stale'
local key, word, ms = P .. 'listing:' .. ARGV[1], ARGV[3], tonumber(ARGV[4])
if redis.call('HGET', key, 'token') ~= ARGV[2] then return 'stale' end
if word == 'more' then
  redis.call('HSET', key, 'until', now + ms)
  return 'ok'
end
redis.call('HDEL', key, 'token', 'until')
local began = tonumber(redis.call('HGET', key, 'began') or '') or now
redis.call('HSET', key, 'due', began + ms)
if word == 'failed' then redis.call('HSET', key, 'why', ARGV[7]) end
if tonumber(ARGV[8]) > 0 then redis.call('HSET', key, 'rests', now + tonumber(ARGV[8])) end
if ARGV[5] ~= '' then redis.call('HSET', key, 'mark', ARGV[5]) end
if word == 'done' then
  local known = redis.call('HMGET', key, 'listed', 'since')
  local since = whole(known[1], 0, 0, now) > 0 and whole(known[2], nil, 0, now) or now
  redis.call('HSET', key, 'listed', now, 'from', began, 'since', since)
  redis.call('HDEL', key, 'why')
  if now - since > 86400000 then redis.call('HDEL', key, 'lies') end
end
if word == 'done' and ARGV[6] ~= '' then redis.call('HSET', key, 'deep', now + tonumber(ARGV[6])) end
return 'ok'
