#!lua flags=allow-oom
-- with: budget
-- One request to upstream, to be made at once: for a page of the list, or for a task that it has news of.
-- ARGV  account, requests per minute (0: no bound of ours)
-- Steps: none while the account rests, or while its budget is spent. Who asked in vain is kept one place for a while, which
--   no claim of tasks takes: a page tells of more than a read by id does. While the key is refused none either, but where no
--   task is due that could be its probe: then one a minute.
-- Reply 0 if it is granted, else the moment (ms) at which to ask again
local account, per_minute = ARGV[1], tonumber(ARGV[2])
local paused_until = tonumber(redis.call('ZSCORE', P .. 'pauses', account) or 0)
if paused_until > now then return paused_until end
local probe = redis.call('HGET', P .. 'account:' .. account, 'state') == 'refused'
if probe and redis.call('ZCOUNT', P .. 'watch', '-inf', now) > 0 then return now + 5000 end
local left, more_at = left_of(account, per_minute)
if left <= 0 then
  redis.call('HSET', P .. 'account:' .. account, 'waits', more_at + 10000)
  return more_at
end
spend(account, per_minute, 1, true)
if probe then redis.call('ZADD', P .. 'pauses', now + 60000, account) end
redis.call('HDEL', P .. 'account:' .. account, 'waits')
return 0
