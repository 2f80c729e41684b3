#!lua flags=allow-oom
-- A task that upstream never knew has ended with its event: say why in bridge:rejected too, where its client looks.
-- ARGV  member, reason JSON, bound on bridge:rejected
-- Steps: nothing if its client asks for it again, or if it was seen after all.
-- Reply 'ok' or 'moved'
local member = ARGV[1]
if wanted(member) then return 'moved' end
local known = redis.call('HMGET', P .. 'snapshot:' .. member, 'status', 'gone')
if known[2] ~= '1' or (known[1] and known[1] ~= '') then return 'moved' end
remember_rejection('task:' .. member, ARGV[2], tonumber(ARGV[3]))
return 'ok'
