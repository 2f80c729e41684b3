#!lua flags=allow-oom
-- Forget tasks that ended long ago, a batch a call: their snapshot lets go of its event's body.
-- ARGV  older than ms, batch
-- Reply how many were forgotten
local old = redis.call('ZRANGEBYSCORE', P .. 'ended', '-inf', now - tonumber(ARGV[1]), 'LIMIT', 0, tonumber(ARGV[2]))
for _, member in ipairs(old) do
  redis.call('ZREM', P .. 'ended', member)
  if not redis.call('ZSCORE', P .. 'watch', member) then
    local event_id = redis.call('HGET', P .. 'snapshot:' .. member, 'event_id')
    redis.call('DEL', P .. 'snapshot:' .. member)
    if event_id then release(event_id) end
  end
end
return #old
