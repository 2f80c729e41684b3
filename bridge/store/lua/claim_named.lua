#!lua flags=allow-oom
-- with: lease_task
-- Lease tasks by name, due or not, because upstream's list has news of them.
-- ARGV  lease ms, token, reason JSON for a snapshot, or a watch, that is not a hash, bound on bridge:rejected, then members
--       up to the last but one argument
-- Steps: what is not watched is left out; what somebody is reading just now, too, and named; the others are leased as
--   `claim_tasks` does.
-- Reply {now, ms that the clock is behind where it has been, {members that somebody is reading}, then per task as
--   `claim_tasks`}
local lease, token, broken, bound = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4])
local busy, claimed = {}, {}
for i = 5, #ARGV - 1 do
  local member = ARGV[i]
  local due = redis.call('ZSCORE', P .. 'watch', member)
  local held = due and redis.pcall('HGET', P .. 'watch:' .. member, 'token')
  if held and type(held) == 'string' and tonumber(due) > now then
    busy[#busy + 1] = member
  elseif due then
    claimed[#claimed + 1] = lease_task(member, lease, token, broken, bound)
  end
end
local reply = {now, clock_behind(), busy}
for _, task in ipairs(claimed) do reply[#reply + 1] = task end
return reply
