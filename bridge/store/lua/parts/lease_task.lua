-- Lease a watched task to a token: its due moment moves to the lease's end. Replies what a claim tells of it, or nil: its
-- client took it back, it expired, or what we know of it cannot be read, and it is unwatched instead.
local function lease_task(member, lease, token, broken, bound)
  local watch, key = P .. 'watch', P .. 'watch:' .. member
  local expires = redis.pcall('HGET', key, 'expires')
  local written_over = type(expires) == 'table'
  if written_over then redis.call('DEL', key) end
  expires = tonumber(not written_over and expires or '')
  if not wanted(member) or (expires and expires <= now) then
    unwatch(member)
    return nil
  end
  local snapshot = redis.pcall('HMGET', P .. 'snapshot:' .. member, 'status', 'updated_at', 'hls_status',
    'system_metadata_digest', 'revision', 'event_id', 'announced', 'terminal_since', 'gone', 'listed', 'observed_at')
  if snapshot.err or written_over then
    unwatch(member)
    remember_rejection('task:' .. member, broken, bound)
    return nil
  end
  local due = whole(redis.call('ZSCORE', watch, member), now, 0, 1e14)
  redis.call('ZADD', watch, now + lease, member)
  redis.call('HSET', key, 'token', token)
  return {member, due,
    redis.call('HMGET', key, 'options', 'announce', 'faults', 'absences', 'absent_since', 'doubt', 'doubted_at', 'relied'),
    snapshot}
end
