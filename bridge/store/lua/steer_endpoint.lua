#!lua flags=allow-oom
-- with: renew
-- with: revive
-- with: resume
-- An operator holds an endpoint, or lets it be tried again. What is in flight finishes and settles either way.
-- ARGV  1 endpoint, 2 'disable' or 'enable', 3 token of this asking, 4 reason ('': an operator's that stands, or
--       else 'operator'), 5 batch
-- Steps: nothing if this asking was heard before (its reply was lost), but the next batch. Held by an operator, also what
--   we had disabled, since when it was. Or else: what is held is made due, a batch a call, and only then is it active, so
--   that all of it goes out in order. One whose receiver has to consent first, and has not, stays disabled, and is asked.
-- Reply {word, state before, reason before, pending, reason of the hold that was asked for}
--   words: missing, done, same (it was so), more (call again with the same token for the next batch), overruled (it was
--   done, and somebody else has said the opposite since), unconfirmed (it has to consent first, and is asked now)
local endpoint, verb, token, batch = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[5])
local key = P .. 'endpoint:' .. endpoint
local state, reason, by, asked = unpack(redis.call('HMGET', key, 'state', 'reason', 'by', 'asked:' .. verb))
local kept = redis.call('HLEN', P .. 'deliveries:' .. endpoint)
local ended = redis.call('ZCARD', P .. 'done:' .. endpoint) + redis.call('ZCARD', P .. 'dead:' .. endpoint)

local why = ARGV[4]
if why == '' then why = state == 'disabled' and by == 'operator' and reason or 'operator' end

local function said(word)
  return {word, state or '', reason or '', math.max(0, kept - ended), why}
end

if not state or state == 'removed' then return said('missing') end
local heard = asked == token
redis.call('HSET', key, 'asked:' .. verb, token)
if verb == 'disable' then
  if heard then return said(state == 'disabled' and 'done' or 'overruled') end
  if state == 'disabled' and by == 'operator' and reason == why then return said('same') end
  if state ~= 'disabled' then redis.call('HSET', key, 'disabled_at', now) end
  redis.call('HSET', key, 'state', 'disabled', 'reason', why, 'by', 'operator')
  redis.call('HDEL', key, 'resuming', 'probe_at', 'probes')
  refresh(endpoint)
  return said('done')
end
if unconfirmed(key) then
  activate(endpoint)
  return said('unconfirmed')
end
if not heard and state ~= 'active' then redis.call('HSET', key, 'resumed_at', now, 'resuming', '-inf') end
local begun = redis.call('HEXISTS', key, 'resuming') == 1
if state ~= 'active' and not begun then return said('overruled') end
if resume(endpoint, batch) then return said('more') end
if state ~= 'active' then activate(endpoint, true) else refresh(endpoint) end
return said((heard or begun) and 'done' or 'same')
