-- The index of lanes, which claims walk: `due` has one member for each set of a lane that is not empty. It consists of the lane's
-- priority, inverted; the first member of the set; the class of the set; and the lane's id. So its order is the order of claims.
-- A lane whose sets are all empty leaves `lanes`. Every write of a set of a lane goes through `enter` and `leave`, and a script
-- that has used them ends with `settle`.
local call, pack, unpack_bytes = redis.call, struct.pack, struct.unpack
local sub, rep = string.sub, string.rep
local prefix = sub(KEYS[1], 1, -5)
local LANES, INDEX = prefix .. 'lanes', prefix .. 'due'
local firsts = {}
local function first_of(set) return call('ZRANGE', set, 0, 0)[1] or false end
local function touch(set)
  if firsts[set] == nil then firsts[set] = first_of(set) end
end
-- Adds members, each after its score, which is 0.
local function enter(set, ...)
  touch(set)
  call('ZADD', set, ...)
end
local function leave(set, ...)
  touch(set)
  call('ZREM', set, ...)
end
local function settle()
  for set, old in pairs(firsts) do
    local class, id, new = sub(set, -12, -12), sub(set, -10), first_of(set)
    local function entry(member)
      return pack('>I2', 32767 - unpack_bytes('>i2', id, 9)) .. member .. class .. id
    end
    -- Tasks of the class `o` wait for something else than a moment.
    -- An entry is written again even if it is there: a script that the server has cut off may have left the index without it.
    if class ~= 'o' then
      if old and old ~= new then call('ZREM', INDEX, entry(old)) end
      if new then call('ZADD', INDEX, 0, entry(new)) end
    end
    if not new and call('EXISTS', prefix .. 'lp:' .. id, prefix .. 'lw:' .. id, prefix .. 'lr:' .. id,
        prefix .. 'lo:' .. id) == 0 then
      call('HDEL', LANES, id)
    end
  end
  firsts = {}
end
