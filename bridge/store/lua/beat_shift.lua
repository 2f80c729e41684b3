#!lua flags=allow-oom
-- A shift says that it is alive, and hears whether it is wanted.
-- ARGV  kind, shift id, alive for ms, 1 if it is just starting
-- Steps: a starting shift takes a ticket's place; it is surplus when as many as there are workers are alive already.
-- Reply 'wanted' or 'surplus'
local kind, shift, alive = ARGV[1], ARGV[2], tonumber(ARGV[3])
local shifts = P .. 'shifts:' .. kind
redis.call('ZREMRANGEBYSCORE', shifts, '-inf', now)
if ARGV[4] == '1' then
  local live, ticket = 0, nil
  for _, other in ipairs(redis.call('ZRANGE', shifts, 0, -1)) do
    if string.sub(other, 1, 7) == 'ticket:' then ticket = ticket or other
    elseif other ~= shift then live = live + 1 end
  end
  local wanted = math.max(redis.call('ZCARD', P .. 'workers:' .. kind), 1)
  if live >= wanted then return 'surplus' end
  if ticket then redis.call('ZREM', shifts, ticket) end
end
redis.call('ZADD', shifts, now + alive, shift)
return 'wanted'
