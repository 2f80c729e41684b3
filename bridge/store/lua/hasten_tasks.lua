#!lua flags=allow-oom
-- Listing does not work any more: what relied on it is read one by one again, and soon.
-- ARGV  account, ms within which all are to be due, reach ms: what is due within it is left alone, batch, how many of those
--       that are due later to pass over: the steps before left them
-- Steps: so many of those that are due later, spread over the time; what is due late for another reason, upstream asked for
--   that, say, is left. At the end, nobody has listed anything.
-- Reply {how many were moved, how many were left}
local within, reach, batch, skip = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local watch, relying = P .. 'watch', {}
local late = redis.call('ZRANGEBYSCORE', watch, '(' .. (now + reach), '+inf', 'LIMIT', skip, batch)
for _, member in ipairs(late) do
  if redis.pcall('HEXISTS', P .. 'watch:' .. member, 'relied') == 1 then relying[#relying + 1] = member end
end
for i, member in ipairs(relying) do redis.call('ZADD', watch, now + math.floor(within * i / #relying), member) end
if #late < batch then redis.call('HDEL', P .. 'listing:' .. ARGV[1], 'listed') end
return {#relying, #late - #relying}
