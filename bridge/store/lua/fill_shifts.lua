#!lua flags=allow-oom
-- How many shifts are missing of one kind? A supervisor asks once a second and enqueues as many RQ jobs.
-- KEYS  2 RQ's list of queued jobs
-- ARGV  kind, ticket ms, worker ids of this supervisor … up to the last but one argument
-- Steps: this supervisor's workers are alive for three seconds more; shifts wanted = live workers; what is missing gets
--   a ticket each, so that a second supervisor, asking before the job is queued, does not send it too.
-- Reply how many to enqueue
local kind, ticket = ARGV[1], tonumber(ARGV[2])
local workers, shifts = P .. 'workers:' .. kind, P .. 'shifts:' .. kind
redis.call('ZREMRANGEBYSCORE', workers, '-inf', now)
redis.call('ZREMRANGEBYSCORE', shifts, '-inf', now)
for i = 3, #ARGV - 1 do redis.call('ZADD', workers, now + 3000, ARGV[i]) end
local tickets, live = 0, 0
for _, shift in ipairs(redis.call('ZRANGE', shifts, 0, -1)) do
  if string.sub(shift, 1, 7) == 'ticket:' then tickets = tickets + 1 else live = live + 1 end
end
local queued = redis.call('LLEN', KEYS[2])
local missing = redis.call('ZCARD', workers) - live - math.max(queued, tickets)
for i = 1, missing do redis.call('ZADD', shifts, now + ticket, 'ticket:' .. now .. ':' .. i) end
return math.max(missing, 0)
