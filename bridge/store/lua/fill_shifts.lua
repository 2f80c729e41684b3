#!lua flags=allow-oom
-- How many shifts are missing of each kind? A supervisor asks once a second and enqueues as many RQ jobs.
-- KEYS  2 … RQ's list of queued jobs, of one kind each
-- ARGV  1 ticket ms, then for each kind its name, how many workers of it this supervisor has, and their ids
-- Steps: this supervisor's workers are alive for three seconds more; shifts wanted = live workers; what is missing gets
--   a ticket each, so that a second supervisor, asking before the job is queued, does not send it too.
-- Reply how many to enqueue, of one kind each
local ticket, at = tonumber(ARGV[1]), 2

local function fill(queue)
  local kind, number = ARGV[at], tonumber(ARGV[at + 1])
  local workers, shifts = P .. 'workers:' .. kind, P .. 'shifts:' .. kind
  redis.call('ZREMRANGEBYSCORE', workers, '-inf', now)
  redis.call('ZREMRANGEBYSCORE', shifts, '-inf', now)
  for i = at + 2, at + 1 + number do redis.call('ZADD', workers, now + 3000, ARGV[i]) end
  at = at + 2 + number
  local tickets, live = 0, 0
  for _, shift in ipairs(redis.call('ZRANGE', shifts, 0, -1)) do
    if string.sub(shift, 1, 7) == 'ticket:' then tickets = tickets + 1 else live = live + 1 end
  end
  local queued = redis.call('LLEN', queue)
  local missing = redis.call('ZCARD', workers) - live - math.max(queued, tickets)
  for i = 1, missing do redis.call('ZADD', shifts, now + ticket, 'ticket:' .. now .. ':' .. i) end
  return math.max(missing, 0)
end

local reply = {}
for i = 2, #KEYS do reply[i - 1] = fill(KEYS[i]) end
return reply
