#!lua flags=allow-oom
-- What a receiver answered when it was asked whether it takes events.
-- ARGV  1 endpoint, 2 what stands for the URL that was asked, 3 granted, refused or unanswered,
--       4 '<interval ms> <burst> <per minute>' of the rate that it granted or '', 5 why not (JSON), 6 ask again in ms,
--       7 tries in a row without an answer, this one included
-- Steps: nothing if another URL is asked by now, or it has consented. A consent is kept with the endpoint, which is active
--   then; anything else is said as the reason why it is disabled, and asked again. What an operator holds stays held.
-- Reply 'ok' or 'stale'
local name, asked, word = ARGV[1], ARGV[2], ARGV[3]
local key, waiting = P .. 'endpoint:' .. name, P .. 'unconfirmed'
if not unconfirmed(key) or redis.call('HGET', key, 'handshake') ~= asked then return 'stale' end
local operators = redis.call('HGET', key, 'by') == 'operator'
if word == 'granted' then
  redis.call('HSET', key, 'consent', asked)
  redis.call('HDEL', key, 'unheard', 'granted')
  if ARGV[4] ~= '' then redis.call('HSET', key, 'granted', ARGV[4]) end
  redis.pcall('ZREM', waiting, name)
  if not operators then activate(name) end
  return 'ok'
end
redis.call('HSET', key, 'unheard', ARGV[7], 'last_failure', ARGV[5])
if not operators then redis.call('HSET', key, 'reason', word) end
redis.pcall('ZADD', waiting, now + tonumber(ARGV[6]), name)
return 'ok'
