#!lua flags=allow-oom
-- Read the endpoints in force and their version, in one step. A script and not MULTI, which a full Redis refuses even for
-- reading, while what is owed is still to be delivered.
-- ARGV  nothing but the time, which this does not need
-- Reply {version or '0', name, JSON, name, JSON, …}
local reply = redis.call('HGETALL', P .. 'registry')
table.insert(reply, 1, redis.call('HGET', P .. 'meta', 'endpoints_version') or '0')
return reply
