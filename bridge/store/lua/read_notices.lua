#!lua flags=allow-oom
-- Read the oldest notices about endpoints, and drop what stands before them and is none: bridge:notices is a list that
-- anybody with the rights may write into by hand.
-- ARGV  1 notices at a time, 2 bytes of the longest, 3 bound on the list, 4 entries dropped at a time, 5 bytes after
--       which no more are dropped at a time
-- Steps: beyond its bound the list loses its oldest, so many at a time; then what is no notice goes from its head; the
--   notices that follow are read up to the next that is none. A list of another type is as good as empty.
-- Reply {how many were dropped, notice, notice, …}
local notices = P .. 'notices'
local number, longest, bound, step, bytes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local reply = {0}
if redis.call('TYPE', notices).ok ~= 'list' then return reply end

local excess = math.min(redis.call('LLEN', notices) - bound, bound)
if excess > 0 then
  redis.call('LTRIM', notices, excess, -1)
  reply[1] = excess
end

local function is_notice(text)
  if #text > longest then return false end
  local readable, notice = pcall(cjson.decode, text)
  return readable and type(notice) == 'table' and type(notice.endpoint) == 'string'
end

local first = redis.call('LINDEX', notices, 0)
while first and not is_notice(first) and step > 0 and bytes > 0 do
  redis.call('LPOP', notices)
  reply[1], step, bytes = reply[1] + 1, step - 1, bytes - #first
  first = redis.call('LINDEX', notices, 0)
end

for i = 0, number - 1 do
  local text = redis.call('LINDEX', notices, i)
  if not text or not is_notice(text) then break end
  reply[#reply + 1] = text
end
return reply
