#!lua
-- P1. Commit one change: snapshot, event and what is owed for it move together or not at all.
-- ARGV  1 member, 2 token, 3 version of the endpoint set, 4 delay ms until the next read (below 0: ended),
--       5 event id, 6 type, 7 revision, 8 body, 9 stream bound, 10 endpoints a step,
--       11 '1' if a later event of the task says all that this one does, 12 what is counted, 13 n, then n endpoint names,
--       then pairs (field, value) of the snapshot up to the last but one argument; '' for what is not known
-- Steps: token; version of the endpoint set; revision ahead of the snapshot's; then write the event, the deliveries, the
--   snapshot (which holds on to the event, instead of the one before), the stream, and the task's next moment. The
--   snapshot comes after what is owed for it: where a key of ours that somebody wrote over ends this in the middle, the
--   change is found again, and owing it again is owing it once.
--   More endpoints than one step takes, or an unfinished hand-out before it: one resumable entry stands for them.
-- Reply 'ok', 'stale', 'removed', or 'changed' (the endpoint set moved on: match again and repeat)
local member, token = ARGV[1], ARGV[2]
local event_id, revision = ARGV[5], tonumber(ARGV[7])
local word = standing(member, token)
if word ~= 'ok' then return word end
if (redis.call('HGET', P .. 'meta', 'endpoints_version') or '0') ~= ARGV[3] then return 'changed' end
local snapshot = P .. 'snapshot:' .. member
local known = redis.call('HMGET', snapshot, 'revision', 'event_id')
if known[1] and tonumber(known[1]) >= revision then return 'stale' end

local n, step = tonumber(ARGV[13]), tonumber(ARGV[10])
local fields, unknown = {}, {}
for i = 14 + n, #ARGV - 2, 2 do
  if ARGV[i + 1] == '' then
    unknown[#unknown + 1] = ARGV[i]
  else
    fields[#fields + 1], fields[#fields + 2] = ARGV[i], ARGV[i + 1]
  end
end
local endpoints = {}
for i = 1, n do endpoints[i] = ARGV[13 + i] end
redis.call('HSET', P .. 'event:' .. event_id, 'type', ARGV[6], 'task', member, 'revision', ARGV[7], 'body', ARGV[8])
if ARGV[11] == '1' then redis.call('HSET', P .. 'event:' .. event_id, 'progress', 1) end
if owe_all(endpoints, step, event_id, member, ARGV[6], ARGV[7]) then wake('deliver') end
redis.call('HSET', snapshot, unpack(fields))
if #unknown > 0 then redis.call('HDEL', snapshot, unpack(unknown)) end
redis.call('HINCRBY', P .. 'event:' .. event_id, 'refs', 1)
if known[2] and known[2] ~= '' then release(known[2]) end
-- Clients read the stream, so a client may have broken it: the pointer is lost then, and never the event.
redis.pcall('XADD', P .. 'events', 'MAXLEN', '~', ARGV[9], '*',
  'id', event_id, 'type', ARGV[6], 'task', member, 'revision', ARGV[7])
count('events')
count_all(ARGV[12])
redis.call('HSET', P .. 'watch:' .. member, 'polled_at', now, 'faults', 0, 'absences', 0, 'absent_since', '',
  'doubt', '', 'doubted_at', '', 'error', '')
announced(member)
rest(member, ARGV[4])
return 'ok'
