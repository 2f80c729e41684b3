-- P9: what was owed when a hold ended begins its schedule, and so its expiry, anew at that moment. Replies true once.
local function renew(record, resumed)
  if not resumed or tonumber(record.created) >= resumed or (tonumber(record.round_at) or 0) >= resumed then return false end
  record.round_from, record.round_at = record.attempts, resumed
  return true
end
