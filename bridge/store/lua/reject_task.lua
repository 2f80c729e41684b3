#!lua
-- Refuse an entry of bridge:tasks: take it out and say why in bridge:rejected.
-- ARGV  member, its field in bridge:rejected, reason JSON, bound on bridge:rejected
-- Reply 'rejected', or 'moved' when the client changed the entry meanwhile (it is looked at again)
local member, field, reason, bound = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local score = tonumber(redis.call('ZSCORE', P .. 'tasks', member))
if not score or score == math.huge then return 'moved' end
redis.call('ZREM', P .. 'tasks', member)
redis.call('ZREM', P .. 'orphans', member) -- its options are there to be corrected, for a day from now
if redis.call('ZSCORE', P .. 'watch', member) then unwatch(member) end
remember_rejection(field, reason, bound)
return 'rejected'
