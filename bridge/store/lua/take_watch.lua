#!lua
-- A watch was judged, and is in force as its client wrote it.
-- ARGV  token, field, text, its field in bridge:rejected
-- Reply 'ok', 'stale' (somebody else finds), or 'moved' (the client changed it meanwhile: it is looked at again)
local finding = P .. 'finding'
if redis.call('HGET', finding, 'token') ~= ARGV[1] then return 'stale' end
if redis.call('HGET', P .. 'watches', ARGV[2]) ~= ARGV[3] then return 'moved' end
redis.call('HSET', finding, 'text:' .. ARGV[2], ARGV[3])
redis.pcall('HDEL', P .. 'rejected', ARGV[4])
return 'ok'
