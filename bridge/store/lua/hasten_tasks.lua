#!lua flags=allow-oom
-- Listing does not work any more: what relied on it is read one by one again, and soon.
-- ARGV  account, ms within which all are to be due, reach ms: what is due within it is left alone, batch
-- Steps: so many of those that are due later, spread over the time; at the end, nobody has listed anything.
-- Reply how many were moved
local within, reach, batch = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local watch = P .. 'watch'
local late = redis.call('ZRANGEBYSCORE', watch, '(' .. (now + reach), '+inf', 'LIMIT', 0, batch)
for i, member in ipairs(late) do redis.call('ZADD', watch, now + math.floor(within * i / #late), member) end
if #late < batch then redis.call('HDEL', P .. 'listing:' .. ARGV[1], 'listed') end
return #late
