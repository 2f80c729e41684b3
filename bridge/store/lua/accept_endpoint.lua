#!lua
-- Make an endpoint's definition the one in force.
-- ARGV  name, canonical JSON, digest of the client's JSON, ordering, cap, the client's JSON or '' for an implicit endpoint,
--       '<interval ms> <burst>' of its rate or '', '1' if a later event of a task stands for progress before it,
--       what stands for the URL whose receiver has to consent or ''
-- Steps: nothing if the client changed it meanwhile; the one in force already is complained of no longer, if a setting
--   had made it bad, and is active again, if that had us disable it as blocked (an operator's word since then stands);
--   write it to bridge:registry; a changed definition makes an endpoint active again that we disabled,
--   and not one that an operator did; since when it is registered stays; one whose receiver has to consent first, and has
--   not at this URL, is asked, and disabled until then; the version of the set moves on, so that no commit uses the old one.
-- Reply 'accepted', 'same' or 'moved'
local name, config, digest, ordering, cap, raw, rate, supersede, handshake = unpack(ARGV, 1, 9)
if raw ~= '' and redis.call('HGET', P .. 'endpoints', name) ~= raw then return 'moved' end
local key = P .. 'endpoint:' .. name
local known = redis.call('HMGET', key, 'digest', 'state', 'kept', 'by', 'reason')
if known[1] == digest and known[2] ~= 'removed' and redis.call('HEXISTS', P .. 'registry', name) == 1 then
  if redis.call('HGET', key, 'cap') ~= cap then redis.call('HSET', key, 'cap', cap) end
  if known[3] then
    redis.pcall('HDEL', P .. 'rejected', 'endpoint:' .. name)
    redis.call('HDEL', key, 'kept')
    if known[2] == 'disabled' and known[5] == 'blocked' and known[4] ~= 'operator' then activate(name) end
  end
  return 'same'
end
redis.call('HDEL', key, 'kept')
redis.pcall('HDEL', P .. 'rejected', 'endpoint:' .. name)
redis.call('HSET', P .. 'registry', name, config)
redis.call('SADD', P .. 'names', name)
redis.call('HSET', key, 'digest', digest, 'ordering', ordering, 'cap', cap, 'raw', raw, 'config', config)
if whole(redis.call('HGET', key, 'limit'), 0, 0, 1e9) >= whole(cap, 1, 1, 100000) then -- overload asks for no less than that
  redis.call('HDEL', key, 'limit', 'limit_from', 'calm')
end
if not known[2] or known[2] == 'removed' then redis.call('HSET', key, 'registered_at', now) end
if rate ~= '' then redis.call('HSET', key, 'rate', rate) else redis.call('HDEL', key, 'rate') end
if handshake ~= '' then
  redis.call('HSET', key, 'handshake', handshake)
else
  redis.call('HDEL', key, 'handshake', 'consent', 'granted', 'unheard')
  redis.pcall('ZREM', P .. 'unconfirmed', name)
  if rate == '' then redis.call('HDEL', key, 'rate_at') end
end
if supersede == '1' then
  redis.call('HSET', key, 'supersede', 1)
else
  redis.call('HDEL', key, 'supersede')
  redis.call('DEL', P .. 'latest:' .. name)
end
endpoints_moved()
if known[2] ~= 'disabled' or known[4] ~= 'operator' then
  activate(name)
elseif unconfirmed(key) then
  have_asked(name)
end
return 'accepted'
