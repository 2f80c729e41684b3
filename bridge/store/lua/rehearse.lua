#!lua flags=allow-oom
-- May this user run every command that the verbs run? Asked at a worker's start, so that a narrow ACL shows then.
-- ARGV  the commands … up to the last but one argument
-- Steps: each is run once on scratch keys, one for each type, which are gone again when the script ends.
-- Reply command, error, … for each that failed, whatever the reason; a command that is not known here is one of them
local scratch = P .. 'scratch:'
local hash, zset, list, set, stream = scratch .. 'h', scratch .. 'z', scratch .. 'l', scratch .. 's', scratch .. 'x'
local examples = {
  DEL = { scratch }, EXISTS = { scratch }, TIME = {}, TYPE = { scratch },
  HDEL = { hash, 'f' }, HEXISTS = { hash, 'f' }, HGET = { hash, 'f' }, HGETALL = { hash }, HINCRBY = { hash, 'n', 1 },
  HKEYS = { hash }, HLEN = { hash }, HMGET = { hash, 'f' }, HRANDFIELD = { hash, 1 },
  HSET = { hash, 'f', 1 }, HSETNX = { hash, 'f', 1 },
  LINDEX = { list, 0 }, LINSERT = { list, 'BEFORE', 'a', 'b' }, LLEN = { list }, LPOP = { list }, LPOS = { list, 'a' },
  LPUSH = { list, 'a' }, LRANGE = { list, 0, 0 }, LREM = { list, 1, 'a' }, LTRIM = { list, 0, 0 }, RPUSH = { list, 'a' },
  RENAME = { hash, hash },
  SADD = { set, 'a' }, SMEMBERS = { set }, SREM = { set, 'a' },
  XADD = { stream, '*', 'f', 'v' },
  ZADD = { zset, 1, 'a' }, ZCARD = { zset }, ZCOUNT = { zset, 0, 1 }, ZRANGE = { zset, 0, 0 },
  ZRANGEBYSCORE = { zset, 0, 1 }, ZREM = { zset, 'a' }, ZREMRANGEBYSCORE = { zset, 0, 1 }, ZSCORE = { zset, 'a' },
}
local failed = {}
for i = 1, #ARGV - 1 do
  local example = examples[ARGV[i]]
  local came = { err = 'no example of it in rehearse.lua' }
  if example then came = redis.pcall(ARGV[i], unpack(example)) end
  if type(came) == 'table' and came.err then
    failed[#failed + 1], failed[#failed + 2] = ARGV[i], came.err
  end
end
redis.pcall('DEL', hash, zset, list, set, stream)
return failed
