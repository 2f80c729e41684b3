#!lua flags=allow-oom
-- with: budget
-- One request of an account's budget, for a page of the list.
-- ARGV  account, requests per minute (0: no bound of ours)
-- Reply 0 if it is granted, else the moment (ms) at which there is one more
local account, per_minute = ARGV[1], tonumber(ARGV[2])
local left, more_at = left_of(account, per_minute)
if left <= 0 then return more_at end
spend(account, per_minute, 1)
return 0
