-- Progress that a later event of its task stands for, at an endpoint that asks for no more than that.

-- Where its endpoint asks for that: the latest event of a task that was delivered to it, from which earlier ones are
-- overtaken. It is forgotten with that event's delivery, so there are no more of these than deliveries.
local function latest_of(endpoint, member)
  local noted = redis.pcall('HGET', P .. 'latest:' .. endpoint, member)
  if type(noted) ~= 'string' then return nil end
  return tonumber(string.match(noted, '^%d+')), string.match(noted, ' (.+)$')
end

-- A delivery arrived: earlier ones of its task tell nothing any more.
local function note_latest(endpoint, event_id, record)
  local latest = latest_of(endpoint, record.task)
  if latest and latest >= tonumber(record.revision) then return end
  redis.pcall('HSET', P .. 'latest:' .. endpoint, record.task, record.revision .. ' ' .. event_id)
end

-- The event that stands for this one at such an endpoint, or nil. Nothing stands for a task's end, or what changes after
-- it, or for what an operator asked to be sent.
local function overtaken_by(endpoint, event_id, record)
  if record.asked then return nil end
  local latest, other = latest_of(endpoint, record.task)
  if not latest or not other or latest <= tonumber(record.revision) then return nil end
  local theirs = record_of(endpoint, other) -- a note that somebody wrote over stands for nothing
  if not theirs or theirs.task ~= record.task or tonumber(theirs.revision) ~= latest then return nil end
  return redis.pcall('HGET', P .. 'event:' .. event_id, 'progress') == '1' and other or nil
end
