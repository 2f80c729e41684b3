#!lua flags=allow-oom
-- Read what clients have written, in one step: one command a look, however seldom there is something to see.
-- ARGV  1 '1' if requests are looked for, 2 '1' if endpoints are looked at, 3 requests at a time, 4 scores from which on
--       seconds are milliseconds by mistake
-- Steps: the tasks whose score is a request by now, and those of a mistaken score; where endpoints are asked for, and always
--   where there is a request, what stands in bridge:endpoints beside what was taken in of it. Raises where a client's key
--   has the wrong type.
-- Reply {requests, mistaken, how many notices wait}, and where endpoints were looked at also {…, bridge:endpoints as
--   field, value, …, names that were taken in, version of the set in force or ''}
local tasks, endpoints, batch = P .. 'tasks', ARGV[2] == '1', tonumber(ARGV[3])
local reply = {{}, {}, 0}
if ARGV[1] == '1' then
  local seconds = math.floor(now / 1000) + 1
  reply[1] = redis.call('ZRANGEBYSCORE', tasks, '-inf', seconds, 'LIMIT', 0, batch)
  reply[2] = redis.call('ZRANGEBYSCORE', tasks, ARGV[4], '(inf', 'LIMIT', 0, batch)
end
local notices = redis.pcall('LLEN', P .. 'notices')
if type(notices) == 'number' then reply[3] = notices end
if endpoints or #reply[1] > 0 then
  reply[4] = redis.call('HGETALL', P .. 'endpoints')
  reply[5] = redis.call('HKEYS', P .. 'registry')
  reply[6] = redis.call('HGET', P .. 'meta', 'endpoints_version') or ''
end
return reply
