#!lua flags=allow-oom
-- Hand the oldest unfinished event to its next endpoints. Events are taken strictly in the order of their commits, so
-- that first attempts stay in revision order for each (endpoint, task).
-- ARGV  endpoints a step
-- Reply how many endpoints were served; 0 when there is nothing to hand out
local step = tonumber(ARGV[1])
local event_id = redis.call('LINDEX', P .. 'fanout', 0)
if not event_id then return 0 end
local list = P .. 'fanout:' .. event_id
local event = redis.call('HMGET', P .. 'event:' .. event_id, 'type', 'revision', 'task')
local served = 0
for _, endpoint in ipairs(redis.call('LRANGE', list, 0, step - 1)) do
  if event[1] and redis.call('EXISTS', P .. 'endpoint:' .. endpoint) == 1 then
    owe(endpoint, event_id, event[3], fresh(event[3], event[1], event[2]))
  end
  served = served + 1
end
redis.call('LTRIM', list, served, -1)
if redis.call('EXISTS', list) == 0 then
  redis.call('LPOP', P .. 'fanout')
  release(event_id)
end
wake('deliver')
return math.max(served, 1)
