#!lua flags=allow-oom
-- A client took an endpoint back: no event is owed to it any more, and what is still owed is cancelled, a batch a call.
-- ARGV  name, batch
-- Steps: nothing if it is (again) in bridge:endpoints, or is implicit and needed; out of the registry, version moves on;
--   cancel what waits in the queue, then in the lines of its tasks; what is leased may still settle. One that has lost
--   its hash, but not its place in the registry, is nobody's to remove: it is mended first.
-- Reply 'kept', 'more' (call again), 'leased' (call again when leases have ended: the sweep does) or 'removed'
local name, batch = ARGV[1], tonumber(ARGV[2])
if redis.pcall('HEXISTS', P .. 'endpoints', name) ~= 0 then return 'kept' end -- a wrong type is no removal
if redis.pcall('HEXISTS', P .. 'rejected', 'key:' .. P .. 'endpoints') == 1 then return 'kept' end -- nor is its repair
local key = P .. 'endpoint:' .. name
local state, watchers, since = unpack(redis.call('HMGET', key, 'state', 'watchers', 'since'))
if not state and redis.call('HEXISTS', P .. 'registry', name) == 1 then return 'kept' end
if state and string.sub(name, 1, 4) == 'url:' then
  local young = now - (tonumber(since or '0') or 0) < 60000 -- its task may just be on the way in
  local needed = (tonumber(watchers or '0') or 0) > 0 or redis.call('HLEN', P .. 'deliveries:' .. name) > 0
  if young or needed then return 'kept' end
end
if state and state ~= 'removed' then
  redis.call('HSET', key, 'state', 'removed')
  redis.call('HDEL', key, 'probe_at', 'probes', 'resuming', 'troubled')
  redis.call('HDEL', P .. 'registry', name)
  endpoints_moved()
  redis.call('ZREM', P .. 'ready', name)
  redis.pcall('ZREM', P .. 'unconfirmed', name)
end
local queue, leases = P .. 'queue:' .. name, P .. 'leases:' .. name
for _, lease in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, batch)) do
  redis.call('ZREM', leases, lease)
  redis.call('ZADD', queue, now, string.match(lease, '^(.*)/') or lease)
end
for _, event_id in ipairs(redis.call('ZRANGE', queue, 0, batch - 1)) do
  redis.call('ZREM', queue, event_id)
  local record = record_of(name, event_id)
  if record ~= nil then
    record = record or record_from_event(name, event_id)
    finish(name, event_id, record, 'cancelled', 'endpoint removed')
    promote(name, record.task, event_id)
  end
end
if redis.call('ZCARD', queue) > 0 then return 'more' end
if redis.call('ZCARD', leases) > 0 then return 'leased' end
redis.call('DEL', key, P .. 'latest:' .. name, P .. 'turns:' .. name)
return 'removed'
