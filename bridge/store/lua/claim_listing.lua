#!lua flags=allow-oom
-- Become the one who lists an account's tasks, if it is time, and learn how the listing stands.
-- ARGV  account, token, lease ms, least number of watched tasks that makes it worthwhile
-- Steps: nothing while somebody else lists, before the next pass, while listing or the account rests, or while too few are
--   watched; else the lease is ours.
-- Reply {word, now, when to ask again ms, mark ms or '', when a pass was last complete ms or '', 1 if it is time for a deep
--   pass, else 0}
--   words: yours, wait, few
local account, token, lease, least = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local key = P .. 'listing:' .. account
local lease_end, due, rests, mark, listed, deep = unpack(redis.call('HMGET', key, 'until', 'due', 'rests', 'mark',
  'listed', 'deep'))
local paused = tonumber(redis.call('ZSCORE', P .. 'pauses', account) or 0)
local at = math.max(tonumber(lease_end or '') or 0, tonumber(due or '') or 0, tonumber(rests or '') or 0, paused)
local function said(word, moment)
  return {word, now, moment, mark or '', listed or '', (tonumber(deep or '') or 0) <= now and 1 or 0}
end

if redis.call('ZCARD', P .. 'watch') < least then return said('few', now + 5000) end
if redis.call('HGET', P .. 'account:' .. account, 'state') == 'refused' then return said('wait', now + 5000) end
if at > now then return said('wait', at) end
redis.call('HSET', key, 'token', token, 'until', now + lease, 'began', now)
return said('yours', now + lease)
