#!lua flags=allow-oom
-- An operator takes a delivery back: it is owed no longer, and the next one of its task goes on; or dismisses a dead letter.
-- ARGV  endpoint, event id
-- Steps: nothing if it has ended, but for a dead letter, or is being attempted just now; out of the queue, of its task's
--   line or of the dead letters; cancelled.
-- Reply 'missing', 'leased', 'cancelled' (now, or before), or the state in which it had ended: 'delivered', 'superseded'
local endpoint, event_id = ARGV[1], ARGV[2]
local record = record_of(endpoint, event_id)
if record == nil then return 'missing' end
record = record or record_from_event(endpoint, event_id)
if record.state ~= 'pending' and record.state ~= 'dead' then return record.state end
if leased(endpoint, event_id) then return 'leased' end
redis.call('ZREM', P .. 'queue:' .. endpoint, event_id)
for _, entry in ipairs(leases_of(endpoint, event_id)) do redis.call('ZREM', P .. 'leases:' .. endpoint, entry) end
finish(endpoint, event_id, record, 'cancelled', 'operator')
promote(endpoint, record.task, event_id)
redis.call('LREM', line_of(endpoint, record.task), 0, event_id)
redis.call('ZREM', P .. 'dead:' .. endpoint, event_id)
redis.pcall('HDEL', P .. 'rejected', 'delivery:' .. endpoint .. ':' .. event_id)
refresh(endpoint)
wake('deliver')
return 'cancelled'
