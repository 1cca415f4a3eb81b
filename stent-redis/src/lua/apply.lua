-- Compares, then writes all or nothing. It contains no rule of Stent: the caller has decided everything. It begins with `lanes.lua`.
-- KEYS[1]: the key of the namespace's lock. ARGV: a mode, then what the mode needs.
--   write    token, checks, commands: checks, then runs the commands and releases the lock
--   stage    token, milliseconds, pieces, checks, commands: checks, appends the commands to the journal of the lock as one piece, and
--            prolongs the lock and the journal; fails if the journal has another number of pieces
--   decide   token, pieces: turns the lock into the journal, if the journal has this number of pieces
--   release  token: releases the lock, and forgets a journal that is not decided
--   advance  runs a piece of the journal, if the lock is one; the last piece releases the lock
-- A token is that of the caller's lock, or ''. Checks and commands begin with their number. A command is its number of words, then
-- its words; `own` defines the '!' commands. A check is one of:
--   r key revision                a string begins with these 8 bytes, or does not exist if they are ''
--   z key size n member ...       a sorted set has this size, and these n members
--   m key member                  a sorted set has this member
--   h key field value             a field of a hash is absent, or has this value
-- Returns {} if all is written, staged or decided. Else writes nothing and returns {0} if another caller has the lock, or numbers of
-- failed checks. `advance` returns the number of pieces that are left, or nothing.
local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end
-- This key never exists. While the namespace's slot moves to another node of a cluster, the server refuses commands on missing
-- keys, so the script fails here and not in the middle of the writes.
call('EXISTS', KEYS[1] .. ':never')

local own = {
  ['!enter'] = enter,
  ['!leave'] = leave,
  -- Adds to a counter, which saturates at the bounds of 64 bits.
  ['!count'] = function(key, field, add)
    local answer = redis.pcall('HINCRBY', key, field, add)
    if type(answer) == 'table' and answer.err then
      local limit = '9223372036854775807'
      if sub(add, 1, 1) == '-' then limit = '-9223372036854775808' end
      call('HSET', key, field, limit)
    end
  end,
  -- Adds an entry unless the set has its id (the first 16 bytes), then removes the oldest entries above `max`.
  ['!progress'] = function(key, entry, max)
    local id = sub(entry, 1, 16)
    local there = call('ZRANGEBYLEX', key, '[' .. id, '+', 'LIMIT', 0, 1)[1]
    if there and sub(there, 1, 16) == id then return end
    call('ZADD', key, 0, entry)
    local over = call('ZCARD', key) - tonumber(max)
    if over > 0 then call('ZREMRANGEBYRANK', key, 0, over - 1) end
  end,
  -- Copies a result; if there is none, deletes the target.
  ['!copy'] = function(from, to)
    if call('EXISTS', from) == 1 then call('COPY', from, to, 'REPLACE') else call('DEL', to) end
  end,
}
local function run(words, start)
  while start < #words do
    local last = start + 1 + tonumber(words[start + 1])
    local mine = own[words[start + 2]]
    if mine then mine(unpack(words, start + 3, last)) else call(unpack(words, start + 2, last)) end
    start = last
  end
  settle()
end

local mode, token = take(), take()
local holder = call('GET', KEYS[1])
-- Nothing else lets go of a value that no version of Stent writes, so whoever waits for it would wait for ever. A lock is `l` and
-- 16 bytes; a journal is `j` and the token of its lock.
if holder and not (#holder == 17 and sub(holder, 1, 1) == 'l') and not (#holder == 18 and sub(holder, 1, 2) == 'jl') then
  return redis.error_reply('FOREIGN ' .. KEYS[1])
end
local JOURNAL = prefix .. 'journal:'
if mode == 'advance' then
  if not holder or sub(holder, 1, 1) ~= 'j' then return {} end
  local journal = JOURNAL .. sub(holder, 2)
  local piece = call('LPOP', journal)
  if piece then run(cmsgpack.unpack(piece), 0) end
  local left = call('LLEN', journal)
  if left == 0 then call('DEL', KEYS[1]) end
  return {left}
end
if holder ~= token and (holder or mode ~= 'write') then return {0} end
local journal = JOURNAL .. token
if mode == 'release' then
  call('DEL', KEYS[1], journal)
  return {}
end
if mode == 'decide' then
  if call('LLEN', journal) ~= tonumber(take()) then return {0} end
  call('PERSIST', journal)
  call('SET', KEYS[1], 'j' .. token)
  return {}
end
local lifetime, pieces
if mode == 'stage' then lifetime, pieces = take(), tonumber(take()) end
local stale = {}
-- The key type that each command needs. The script checks types first, because a command that fails undoes no earlier command. A
-- check of a revision fails on another type.
local seen = {}
for check = 1, tonumber(take()) do
  local kind, key = take(), take()
  local holds
  if kind == 'r' then
    holds = call('GETRANGE', key, 0, 7) == take()
    seen[key] = 'string'
  elseif kind == 'z' then
    holds = call('ZCARD', key) == tonumber(take())
    local count = tonumber(take())
    if holds and count > 0 then
      for _, score in ipairs(call('ZMSCORE', key, unpack(ARGV, at + 1, at + count))) do
        holds = holds and score
      end
    end
    at = at + count
  elseif kind == 'm' then
    holds = call('ZSCORE', key, take())
  else
    local value = call('HGET', key, take())
    local expected = take()
    holds = not value or value == expected
  end
  if not holds then stale[#stale + 1] = check end
end
if #stale > 0 then return stale end

local TYPES = {
  SETRANGE = 'string', ZADD = 'zset', ZREM = 'zset', RPUSH = 'list', HSET = 'hash', HSETNX = 'hash',
  HINCRBY = 'hash', XADD = 'stream',
  ['!count'] = 'hash', ['!progress'] = 'zset', ['!enter'] = 'zset', ['!leave'] = 'zset',
}
local start = at
while at < #ARGV do
  local words = tonumber(take())
  local needs, key = TYPES[ARGV[at + 1]], ARGV[at + 2]
  if needs and seen[key] ~= needs then
    seen[key] = needs
    local is = call('TYPE', key).ok
    if is ~= 'none' and is ~= needs then
      return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. is .. ', and should be a ' .. needs)
    end
  end
  at = at + words
end
if mode == 'write' then
  run(ARGV, start)
  if token ~= '' then call('DEL', KEYS[1]) end
  return {}
end
-- A journal that nobody decides vanishes, and not later than its lock.
if pieces == 0 then call('DEL', journal) end
if call('LLEN', journal) ~= pieces then return {0} end
if start < #ARGV then
  local words = {}
  for n = start + 1, #ARGV do words[n - start] = ARGV[n] end
  call('RPUSH', journal, cmsgpack.pack(words))
  call('PEXPIRE', journal, lifetime)
end
call('PEXPIRE', KEYS[1], lifetime)
return {}
