#!lua flags=allow-oom
-- Lease due tasks: each one's due moment moves to the lease's end, and the token is the proof that it is ours.
-- ARGV  slots, lease ms, token, account, requests per minute (0: no bound of ours),
--       reason JSON for a snapshot, or a watch, that is not a hash, bound on bridge:rejected
-- Steps: nothing while the account rests; no more than its budget leaves; a task that its client took back or that
--   expired is unwatched instead; while the key is refused one task a minute is let through, as a probe.
-- Reply {now, next moment ms or '', probe 0|1, ms that the clock is behind where it has been, then per task {member, due ms, fields of bridge:watch:<member> in the
--   order below, fields of bridge:snapshot:<member> in the order below}}
local slots, lease, token, account, per_minute = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local broken, bound = ARGV[6], tonumber(ARGV[7])
local watch = P .. 'watch'
local pauses, spent = P .. 'pauses', P .. 'spent:' .. account

local paused_until = tonumber(redis.call('ZSCORE', pauses, account) or 0)
if paused_until > now then return {now, paused_until, 0, 0} end

local probe = redis.call('HGET', P .. 'account:' .. account, 'state') == 'refused'
if probe then slots = 1 end

-- Exactly N in any 60 s: the grants of each second are kept for 62, as a grant is used within the second after it.
local second, oldest = math.floor(now / 1000), nil
if per_minute > 0 then
  local used = 0
  local grants = redis.call('HGETALL', spent)
  for i = 1, #grants, 2 do
    local moment = tonumber(grants[i])
    if moment <= second - 62 then
      redis.call('HDEL', spent, grants[i])
    else
      used = used + tonumber(grants[i + 1])
      if not oldest or moment < oldest then oldest = moment end
    end
  end
  slots = math.min(slots, per_minute - used)
  if slots <= 0 then return {now, (oldest + 62) * 1000, 0, 0} end
end

local claimed = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', watch, '-inf', now, 'LIMIT', 0, math.max(slots, 0))) do
  local key = P .. 'watch:' .. member
  local expires = redis.pcall('HGET', key, 'expires')
  local written_over = type(expires) == 'table'
  if written_over then redis.call('DEL', key) end
  expires = tonumber(not written_over and expires or '')
  if not wanted(member) or (expires and expires <= now) then
    unwatch(member)
  else
    local snapshot = redis.pcall('HMGET', P .. 'snapshot:' .. member, 'status', 'updated_at', 'hls_status',
      'system_metadata_digest', 'revision', 'event_id', 'announced', 'terminal_since', 'gone')
    if snapshot.err or written_over then
      unwatch(member)
      remember_rejection('task:' .. member, broken, bound)
    else
      local due = redis.call('ZSCORE', watch, member)
      redis.call('ZADD', watch, now + lease, member)
      redis.call('HSET', key, 'token', token)
      claimed[#claimed + 1] = {member, due,
        redis.call('HMGET', key, 'options', 'announce', 'faults', 'absences', 'absent_since', 'doubt', 'doubted_at'),
        snapshot}
    end
  end
end

if per_minute > 0 and #claimed > 0 then redis.call('HINCRBY', spent, second, #claimed) end
if probe and #claimed > 0 then redis.call('ZADD', pauses, now + 60000, account) end
local reply = {now, at_score(watch, 0) or '', probe and 1 or 0, clock_behind()}
for _, task in ipairs(claimed) do reply[#reply + 1] = task end
return reply
