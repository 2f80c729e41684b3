#!lua flags=allow-oom
-- Whoever found tasks is done for now: the next one may look.
-- ARGV  token
-- Reply 'ok' or 'stale'
local finding = P .. 'finding'
if redis.call('HGET', finding, 'token') ~= ARGV[1] then return 'stale' end
redis.call('HDEL', finding, 'token', 'until')
return 'ok'
