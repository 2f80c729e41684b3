#!lua
-- Make an event of the oldest notice about an endpoint, and owe it to those who asked for such.
-- ARGV  1 the notice as it stands in bridge:notices, 2 version of the endpoint set, 3 event id, 4 type, 5 member,
--       6 revision, 7 body, 8 stream bound, 9 endpoints a step, 10 what is counted, then endpoint names up to the last but
--       one argument
-- Steps: it is still the oldest one; version of the endpoint set; then what is owed, the stream, and the notice is gone.
--   Without anybody who asked, only the pointer in the stream remains. Without an event id the notice is nonsense, and
--   goes.
-- Reply 'told', 'stale' (somebody told it), or 'changed' (the endpoint set moved on: match again and repeat)
local notices = P .. 'notices'
if redis.call('LINDEX', notices, 0) ~= ARGV[1] then return 'stale' end
local event_id = ARGV[3]
if event_id == '' then
  redis.call('LPOP', notices)
  return 'told'
end
if (redis.call('HGET', P .. 'meta', 'endpoints_version') or '0') ~= ARGV[2] then return 'changed' end
local endpoints = {}
for i = 11, #ARGV - 1 do endpoints[#endpoints + 1] = ARGV[i] end
if #endpoints > 0 then
  redis.call('HSET', P .. 'event:' .. event_id, 'type', ARGV[4], 'task', ARGV[5], 'revision', ARGV[6], 'body', ARGV[7])
  if owe_all(endpoints, tonumber(ARGV[9]), event_id, ARGV[5], ARGV[4], ARGV[6]) then wake('deliver') end
end
redis.pcall('XADD', P .. 'events', 'MAXLEN', '~', ARGV[8], '*',
  'id', event_id, 'type', ARGV[4], 'task', ARGV[5], 'revision', ARGV[6])
count('events')
count_all(ARGV[10])
redis.call('LPOP', notices)
return 'told'
