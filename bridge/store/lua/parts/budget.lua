-- Exactly N requests in any 60 s: the grants of each second are kept for 62, as a grant is used within the second after it.
-- Replies how many are left, and when there is one more (ms) if there is none.
local function left_of(account, per_minute)
  if per_minute <= 0 then return math.huge end
  local spent, second, used, oldest = P .. 'spent:' .. account, math.floor(now / 1000), 0, nil
  local grants = redis.call('HGETALL', spent)
  for i = 1, #grants, 2 do
    local moment = tonumber(grants[i])
    if moment <= second - 62 then
      redis.call('HDEL', spent, grants[i])
    else
      used = used + tonumber(grants[i + 1])
      if not oldest or moment < oldest then oldest = moment end
    end
  end
  return per_minute - used, oldest and (oldest + 62) * 1000
end

local function spend(account, per_minute, requests)
  if per_minute > 0 and requests > 0 then
    redis.call('HINCRBY', P .. 'spent:' .. account, math.floor(now / 1000), requests)
  end
end
