#!lua
-- Write a client's definition of an endpoint over the one that was read, for intake to judge.
-- ARGV  name, what was read, what it shall be
-- Reply 'written' (now, or before), or 'moved' when somebody changed it meanwhile
local name, before, after = ARGV[1], ARGV[2], ARGV[3]
local stands = redis.call('HGET', P .. 'endpoints', name)
if stands == after then return 'written' end
if stands ~= before then return 'moved' end
redis.call('HSET', P .. 'endpoints', name, after)
return 'written'
