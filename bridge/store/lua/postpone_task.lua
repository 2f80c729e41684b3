#!lua flags=allow-oom
-- Give a claimed task back without a change: unchanged, doubted, faulty, or absent for now.
-- ARGV  1 member, 2 token, 3 delay ms (below 0: ended), 4 faults, 5 absences, 6 absent_since, 7 doubt, 8 doubted_at,
--       9 error
-- Reply 'ok', 'stale' or 'removed'
local member = ARGV[1]
local word = standing(member, ARGV[2])
if word ~= 'ok' then return word end
redis.call('HSET', P .. 'watch:' .. member, 'polled_at', now, 'faults', ARGV[4], 'absences', ARGV[5],
  'absent_since', ARGV[6], 'doubt', ARGV[7], 'doubted_at', ARGV[8], 'error', ARGV[9])
rest(member, ARGV[3])
return 'ok'
