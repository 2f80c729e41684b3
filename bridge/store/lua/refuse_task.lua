#!lua flags=allow-oom
-- Upstream refuses this id for good: watch it no longer, and say why in bridge:rejected.
-- ARGV  member, token, reason JSON, bound on bridge:rejected
-- Reply 'ok', 'stale' or 'removed'
local member = ARGV[1]
local word = standing(member, ARGV[2])
if word ~= 'ok' then return word end
unwatch(member)
remember_rejection('task:' .. member, ARGV[3], tonumber(ARGV[4]))
return 'ok'
