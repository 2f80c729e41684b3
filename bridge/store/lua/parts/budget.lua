-- What was granted, as it is kept: so many in each second, and as "<second> list" what watching by the list took of them.
-- Who wrote nonsense there spent nothing. What is far ahead was granted before the clock was set back, and counts from now.
local function grants_of(account)
  local spent, found = P .. 'spent:' .. account, {}
  local grants = redis.pcall('HGETALL', spent)
  if grants.err then
    redis.call('DEL', spent)
    return found
  end
  for i = 1, #grants, 2 do
    local moment, by = string.match(grants[i], '^(%d+)(.*)$')
    local number = whole(grants[i + 1], nil, 0, 1000000)
    if not number or (by ~= '' and by ~= ' list') then
      redis.call('HDEL', spent, grants[i])
    else
      found[#found + 1] = {name = grants[i], second = tonumber(moment), by = by, number = number}
    end
  end
  return found
end

-- Exactly N requests in any 60 s: the grants of each second are kept for 62, as a grant is used within the second after it.
-- What watching by the list spent of them is kept beside, as "<second> list": reading by id must not starve it.
-- Replies how many are left, when there is one more (ms) if there is none, and how many of those that are gone the list took.
local function left_of(account, per_minute)
  if per_minute <= 0 then return math.huge, nil, 0 end
  local spent, second, used, oldest, listed = P .. 'spent:' .. account, math.floor(now / 1000), 0, nil, 0
  for _, grant in ipairs(grants_of(account)) do
    local ahead = grant.second > second + 2
    if ahead or grant.second <= second - 62 then redis.call('HDEL', spent, grant.name) end
    if ahead then
      grant.second = second
      redis.call('HINCRBY', spent, second .. grant.by, grant.number)
    end
    if grant.second > second - 62 then
      if grant.by == '' then
        used = used + grant.number
        if not oldest or grant.second < oldest then oldest = grant.second end
      else
        listed = listed + grant.number
      end
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
