#!lua flags=allow-oom
-- Become the one who finds tasks for the watches, if nobody does, and learn what is watched and how far that has come.
-- ARGV  account, token, lease ms, ms until the next look
-- Steps: nothing while somebody else finds, or while the account rests; while its key is refused nothing either, but where
--   no task is due that could be the probe: then a page is. A key that had the wrong type and has not any more is written
--   back from what was in force. What is known of a watch that is gone is forgotten, and so is all of it where somebody wrote
--   over it.
-- Reply {word, now, when to look again ms, {field, text of bridge:watches, …}, {field, value of bridge:finding, …}, 1 if the
--   key is refused, else 0}
--   words: yours, wait, none (there is no watch), broken (bridge:watches is no hash)
local account, token, lease, look = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local watches, finding = P .. 'watches', P .. 'finding'
local probe = redis.call('HGET', P .. 'account:' .. account, 'state') == 'refused'
local function said(word, at, written, known)
  return {word, now, at or now + look, written or {}, known or {}, probe and 1 or 0}
end

local kind = redis.call('TYPE', finding).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', finding) end
kind = redis.call('TYPE', watches).ok
if kind ~= 'hash' and kind ~= 'none' then return said('broken') end
local known = redis.call('HGETALL', finding)
if redis.pcall('HEXISTS', P .. 'rejected', 'key:' .. watches) == 1 then
  for i = 1, #known, 2 do
    local name = string.match(known[i], '^text:(.*)$')
    if name then redis.call('HSETNX', watches, name, known[i + 1]) end
  end
  redis.call('HDEL', P .. 'rejected', 'key:' .. watches)
end
local written = redis.call('HGETALL', watches)
if #written == 0 and #known == 0 then return said('none') end

local ends = tonumber(redis.call('HGET', finding, 'until') or '') or 0
if ends > now and ends <= now + lease then return said('wait', math.min(ends, now + look)) end
local rests = tonumber(redis.call('ZSCORE', P .. 'pauses', account) or 0)
if rests > now then return said('wait', math.min(rests, now + look)) end
if probe and redis.call('ZCOUNT', P .. 'watch', '-inf', now) > 0 then return said('wait') end

local there, kept = {}, {}
for i = 1, #written, 2 do there[written[i]] = true end
for i = 1, #known, 2 do
  local name = string.match(known[i], '^text:(.*)$') or string.match(known[i], '^state:%a+:(.*)$')
    or string.match(known[i], '^found:%a+:(.*)$')
  if name and not there[name] then
    redis.call('HDEL', finding, known[i])
  else
    kept[#kept + 1], kept[#kept + 2] = known[i], known[i + 1]
  end
end
if #written == 0 then
  redis.call('DEL', finding)
  return said('none')
end
redis.call('HSET', finding, 'token', token, 'until', now + lease)
return said('yours', now + lease, written, kept)
