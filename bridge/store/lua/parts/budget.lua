-- Exactly N requests in any 60 s: the grants of each second are kept for 62, as a grant is used within the second after it.
-- What watching by the list spent of them is kept beside, as "<second> list": reading by id must not starve it.
-- Replies how many are left, when there is one more (ms) if there is none, and how many of those that are gone the list took.
local function left_of(account, per_minute)
  if per_minute <= 0 then return math.huge, nil, 0 end
  local spent, second, used, oldest, listed = P .. 'spent:' .. account, math.floor(now / 1000), 0, nil, 0
  local grants = redis.call('HGETALL', spent)
  for i = 1, #grants, 2 do
    local text, by = string.match(grants[i], '^(%d+)(.*)$')
    local moment = tonumber(text)
    if not moment or moment <= second - 62 then
      redis.call('HDEL', spent, grants[i])
    elseif by == '' then
      used = used + tonumber(grants[i + 1])
      if not oldest or moment < oldest then oldest = moment end
    else
      listed = listed + tonumber(grants[i + 1])
    end
  end
  return per_minute - used, ((oldest or second) + 62) * 1000, listed
end

local function spend(account, per_minute, requests, by_list)
  if per_minute > 0 and requests > 0 then
    redis.call('HINCRBY', P .. 'spent:' .. account, math.floor(now / 1000), requests)
    if by_list then redis.call('HINCRBY', P .. 'spent:' .. account, math.floor(now / 1000) .. ' list', requests) end
  end
end
