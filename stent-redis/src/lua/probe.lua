-- Tries every command of the other scripts, and changes nothing. Fails with the name of a command that the user may not run, or
-- that the server does not have: the server undoes nothing when it stops a script at such a command.
-- KEYS[1]: a key that nothing else uses. It holds a string meanwhile, and commands on other types fail on it without an effect.
local key = KEYS[1]
local commands = {
  {'SET', key, '', 'PX', 1000}, {'MSET', key, ''}, {'SETRANGE', key, 0, ''}, {'COPY', key, key, 'REPLACE'},
  {'EXISTS', key}, {'GET', key}, {'GETRANGE', key, 0, 7}, {'TYPE', key}, {'PERSIST', key},
  {'PEXPIRE', key, 1000},
  {'HDEL', key, 'f'}, {'HGET', key, 'f'}, {'HGETALL', key}, {'HINCRBY', key, 'f', 1}, {'HMGET', key, 'f'},
  {'HSET', key, 'f', ''}, {'HSETNX', key, 'f', ''},
  {'LLEN', key}, {'LPOP', key}, {'RPUSH', key, ''}, {'XADD', key, '*', 'f', ''},
  {'ZADD', key, 0, ''}, {'ZCARD', key}, {'ZLEXCOUNT', key, '-', '+'}, {'ZMSCORE', key, ''}, {'ZRANGE', key, 0, 0},
  {'ZRANGEBYLEX', key, '-', '+'}, {'ZREM', key, ''}, {'ZREMRANGEBYRANK', key, 0, 0}, {'ZSCORE', key, ''},
  {'DEL', key},
}
for _, command in ipairs(commands) do
  local answer = redis.pcall(unpack(command))
  local refused = type(answer) == 'table' and answer.err
  -- Redis 6.2 and 7, and Valkey, say it in three ways.
  if refused and (string.find(refused, 'NOPERM') or string.find(refused, "can't run")
      or string.find(refused, 'no permissions to run')) then
    local name = string.lower(command[1])
    return redis.error_reply("NOPERM this user has no permissions to run the '" .. name .. "' command")
  end
  if refused and string.find(refused, 'nknown') and string.find(refused, 'command') then
    return redis.error_reply("ERR unknown command '" .. command[1] .. "'")
  end
end
return {}
