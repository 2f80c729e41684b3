#!lua flags=allow-oom
-- Become the one who lists an account's tasks, if it is time, and learn how the listing stands.
-- ARGV  1 account, 2 token, 3 lease ms, 4 least number of watched tasks that makes it worthwhile, 5 interval ms, 6 the
--       longest rest ms, 7 ms between deep passes, 8 how far ahead a mark may be
-- Steps: nothing while somebody else lists, before the next pass, while listing or the account rests, or while too few
--   index tasks are watched (of many, the 200 that are due first and last are looked at); else the lease is ours. A moment
--   further ahead than it can be is none: a clock was set back, or somebody wrote it there.
-- Reply {word, now, when to ask again ms, mark ms or '', when a pass was last complete ms or '', 1 if it is time for a deep
--   pass, else 0, why the pass before failed, if it did}
--   words: yours, wait, few
local account, token, lease, least = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local key = P .. 'listing:' .. account
local kind = redis.call('TYPE', key).ok
if kind ~= 'hash' and kind ~= 'none' then -- written over: nobody has listed, and what relied on it is to be read by id
  redis.call('DEL', key)
  redis.call('HSET', key, 'listed', 0)
end
local known = redis.call('HMGET', key, 'until', 'due', 'rests', 'mark', 'listed', 'deep', 'why')
local function moment(index, ahead)
  local value = tonumber(known[index] or '')
  return value and value >= 0 and value <= now + ahead and value or nil
end
local mark = moment(4, tonumber(ARGV[8]))
local listed = known[5] and (moment(5, 60000) or 0) -- by a clock that was set back: long ago, and not never
local paused = tonumber(redis.call('ZSCORE', P .. 'pauses', account) or 0)
local at = math.max(moment(1, lease) or 0, moment(2, tonumber(ARGV[5])) or 0, moment(3, tonumber(ARGV[6])) or 0, paused)
local function said(word, when)
  return {word, now, when, mark and string.format('%.0f', mark) or '', listed and string.format('%.0f', listed) or '',
    (moment(6, tonumber(ARGV[7])) or 0) <= now and 1 or 0, known[7] or ''}
end

-- The list is of index tasks, whose members have no colon. What relies on it is due last, what does not is due first.
local function enough()
  local watch, found = P .. 'watch', 0
  local size = redis.call('ZCARD', watch)
  if size < least then return false end
  for _, from in ipairs({math.max(200, size - 200), 0}) do
    for _, member in ipairs(redis.call('ZRANGE', watch, from, from + 199)) do
      if not string.find(member, ':', 1, true) then found = found + 1 end
      if found >= least then return true end
    end
  end
  return false
end

if not enough() then return said('few', now + 5000) end
if redis.call('HGET', P .. 'account:' .. account, 'state') == 'refused' then return said('wait', now + 5000) end
if at > now then return said('wait', at) end
redis.call('HSET', key, 'token', token, 'until', now + lease, 'began', now)
return said('yours', now + lease)
