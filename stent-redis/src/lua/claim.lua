-- Claims due tasks within the limits, ordered by priority, due moment and id.
-- KEYS[1]: the key of the namespace's lock. `claim.rs` builds ARGV and reads the answer.
-- Rust decides every other write. Each claim changes heads of lanes and counts, so a claim that compares first would rarely win.
-- The script repeats `ClaimRequest::admits`, `Row::claim`, `Row::vacate`, `Row::fire`, `Limit::room` and `Rate::counts_in` of
-- stent-core; the conformance suite runs the same cases on both. It begins with `lanes.lua`.
local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end
call('EXISTS', KEYS[1] .. ':never') -- See `apply.lua`.
if call('EXISTS', KEYS[1]) == 1 then return {'locked'} end
local now, till, worker, nonce, revision = take(), take(), take(), take(), take()
local max, expired_max = tonumber(take()), tonumber(take())
local LAST_ID = rep('\255', 16)
local DUE, LATER = '[' .. now .. LAST_ID, '(' .. now .. LAST_ID

-- The offsets and bits of a head are those in `row.rs`.
local REVISION, STATUS, PRESENT, EPOCH, CLAIMS, CRASHES = 0, 8, 12, 16, 36, 44
local READY_AT, WORKER, DONE, ORDER, EXPIRES_AT, SLOT = 52, 60, 76, 84, 128, 136
local STARTED_AT, ENDED_AT, EXECUTION, LEN = 144, 152, 192, 240
local HAS_READY, HAS_WORKER, HAS_WAKE, HAS_ORDER = 1, 2, 4, 8
local HAS_EXPIRY, HAS_SLOT, HAS_STARTED, HAS_ENDED = 128, 256, 512, 1024
local RUNNING, COMPLETED = '\1', '\3'
local VACATED = rep('\0', 8)
local function get(head, offset, length) return sub(head, offset + 1, offset + length) end
local function put(head, offset, bytes) return sub(head, 1, offset) .. bytes .. sub(head, offset + #bytes + 1) end
local function int(head, offset) return (unpack_bytes('>I4', head, offset + 1)) end
local function put_int(head, offset, value) return put(head, offset, pack('>I4', value)) end
local function has(head, bit_of) return bit.band((unpack_bytes('>I2', head, PRESENT + 1)), bit_of) ~= 0 end
local function present(head, add, remove)
  local bits = (unpack_bytes('>I2', head, PRESENT + 1))
  return put(head, PRESENT, pack('>I2', bit.bor(bit.band(bits, bit.bnot(remove)), add)))
end
-- Compares moments as two numbers, because a Lua number has 53 bits, and Lua compares strings by locale.
local function before(one, other)
  local a, b = unpack_bytes('>I4I4', one)
  local c, d = unpack_bytes('>I4I4', other)
  return a < c or (a == c and b < d)
end
local function is_over(head)
  return has(head, HAS_EXPIRY) and not before(now, get(head, EXPIRES_AT, 8))
end
local limits = {}
for n = 1, tonumber(take()) do
  limits[n] = {
    function_key = take(), concurrent = tonumber(take()), rate = tonumber(take()),
    since = take(), own = take(), latest = take(),
  }
end

local function take_set()
  local set = {}
  for _ = 1, tonumber(take()) do set[take()] = true end
  return set
end
local functions = {}
for _ = 1, tonumber(take()) do
  local name = take()
  functions[name] = limits[tonumber(take())] or false
end
local any_queue = take() == '1'
local queues, tags = take_set(), take_set()

local function count(limit)
  if limit.counted then return end
  limit.counted = true
  if limit.concurrent then
    limit.running = call('ZLEXCOUNT', prefix .. 'm:' .. limit.function_key, LATER, '+')
  end
  if limit.rate then
    limit.started = 0
    local buckets = call('HGETALL', prefix .. 's:' .. limit.function_key)
    for n = 1, #buckets, 2 do
      local bucket = buckets[n]
      if not before(bucket, limit.since) then
        limit.started = limit.started + tonumber(buckets[n + 1])
        if not limit.first or before(bucket, limit.first) then limit.first = bucket end
        if not limit.last or before(limit.last, bucket) then limit.last = bucket end
      elseif #buckets > 200 then
        call('HDEL', prefix .. 's:' .. limit.function_key, bucket)
      end
    end
  end
end

local function has_room(limit)
  count(limit)
  return not ((limit.concurrent and limit.running >= limit.concurrent)
    or (limit.rate and limit.started >= limit.rate))
end

local function start(limit)
  if limit.concurrent and before(now, till) then limit.running = limit.running + 1 end
  if limit.rate then
    local bucket = limit.own
    if limit.last and not before(limit.last, limit.own) and not before(limit.latest, limit.last) then
      bucket = limit.last
    end
    call('HINCRBY', prefix .. 's:' .. limit.function_key, bucket, 1)
    limit.started = limit.started + 1
    if not limit.first or before(bucket, limit.first) then limit.first = bucket end
    if not limit.last or before(limit.last, bucket) then limit.last = bucket end
  end
end

local function fire(head, id)
  local sleeps = prefix .. 'z:' .. id
  local done = int(head, DONE)
  for _, member in ipairs(call('ZRANGEBYLEX', sleeps, '-', '[' .. now .. rep('\255', 20))) do
    local sleep = sub(member, 13)
    local key = prefix .. 't:' .. sleep
    local step = call('GETRANGE', key, 0, LEN - 1)
    if #step == LEN then
      done = done + 1
      step = put(step, REVISION, revision)
      step = put(step, STATUS, COMPLETED)
      step = put_int(step, ORDER, done)
      step = put(step, ENDED_AT, now)
      step = present(step, HAS_ORDER + HAS_ENDED, HAS_READY + HAS_WORKER + HAS_WAKE + HAS_SLOT)
      call('SETRANGE', key, 0, step)
      call('ZREM', prefix .. 'o:' .. get(step, EXECUTION, 16), sleep)
      call('ZADD', prefix .. 'f:' .. id, 0, pack('>I4', done) .. sleep)
    end
    call('ZREM', sleeps, member)
  end
  return put_int(head, DONE, done)
end

-- The members that sets of lanes lose and get, and that `run` gets, at the end of the script: so this claim does not find a task
-- again, and one command for many members costs less. Added members are after their scores.
local loses, gets, run_gets = {}, {}, {}
local function of(sets, set)
  if not sets[set] then sets[set] = {} end
  return sets[set]
end
local function append(words, ...)
  for n = 1, select('#', ...) do words[#words + 1] = (select(n, ...)) end
end
local WORDS_MAX = 1000
local function in_groups(change, set, words)
  for first = 1, #words, WORDS_MAX do
    change(set, unpack(words, first, math.min(first + WORDS_MAX - 1, #words)))
  end
end
-- Keys of tasks that hold a value which is too short for a task: another program wrote it.
local foreign = {}
local function claim(lane, member, id)
  local row = call('GET', prefix .. 't:' .. id)
  if not row then return nil end
  if #row < LEN then
    foreign[#foreign + 1] = prefix .. 't:' .. id
    return nil
  end
  local head, tail = sub(row, 1, LEN), sub(row, LEN + 1)
  local fence, due = get(head, EPOCH, 8), get(head, READY_AT, 8)
  local limit = lane.limit
  if get(head, STATUS, 1) == RUNNING then
    local seat = get(head, READY_AT, 8) .. id
    call('RPUSH', prefix .. 'h:' .. id, 'c' .. now .. fence .. get(head, WORKER, 16) .. '\1')
    head = put_int(head, CRASHES, int(head, CRASHES) + 1)
    call('ZREM', prefix .. 'run', seat)
    if has(head, HAS_SLOT) then call('ZREM', prefix .. 'm:' .. get(head, SLOT, 8), seat) end
  end
  local slot = limit and limit.concurrent
  -- Only code that has run has children.
  local children = has(head, HAS_STARTED) and call('EXISTS', prefix .. 'c:' .. id) or 0
  head = put(head, REVISION, revision)
  head = put(head, STATUS, RUNNING)
  head = put(head, EPOCH, pack('>I4', int(head, EPOCH) + 1) .. nonce)
  head = put_int(head, CLAIMS, int(head, CLAIMS) + 1)
  head = put(head, READY_AT, till)
  head = put(head, WORKER, worker)
  if not has(head, HAS_STARTED) then head = put(head, STARTED_AT, now) end
  if slot then head = put(head, SLOT, limit.function_key) end
  head = present(head, HAS_READY + HAS_WORKER + HAS_STARTED + (slot and HAS_SLOT or 0),
    HAS_WAKE + (slot and 0 or HAS_SLOT))
  if children == 1 then head = fire(head, id) end
  call('SETRANGE', prefix .. 't:' .. id, 0, head)
  local seat = till .. id
  append(of(loses, lane.set), member)
  append(of(gets, prefix .. 'lr:' .. lane.id), 0, seat)
  append(run_gets, 0, seat)
  if slot then call('ZADD', prefix .. 'm:' .. limit.function_key, 0, seat) end
  if limit then start(limit) end
  return {head .. tail, fence, children, due}
end

local claimed = {}

-- Tasks of a set between two moments, at most so many, without those whose deadline has passed. As long as there is no such task
-- in the namespace, no row is looked at.
local function is_out(id)
  local head = call('GETRANGE', prefix .. 't:' .. id, 0, LEN - 1)
  return #head < LEN or is_over(head)
end
local any_over = call('ZLEXCOUNT', prefix .. 'd', '-', DUE) > 0
-- A claim looks at no more tasks whose deadline has passed: the caller ends some of them, and claims again at once.
local OUT_MAX = 1000
local out = 0
local function find(set, from, to, most)
  local found, size = {}, most
  if any_over then size = math.max(most, 100) end
  repeat
    if out >= OUT_MAX then return found end
    local page = call('ZRANGEBYLEX', set, from, to, 'LIMIT', 0, size)
    for _, member in ipairs(page) do
      if #found < most then
        if any_over and is_out(sub(member, 9)) then out = out + 1 else found[#found + 1] = member end
      end
      from = '(' .. member
    end
  until not any_over or #page == 0 or #found == most
  return found
end

-- Returns a lane's limit (false without one) if the request admits the lane, and nil if it does not.
local function admitted(record)
  local start, nth, limit, is_tagged, is_shared = 1, 0, nil, false, next(tags) == nil
  while start <= #record do
    local word = sub(record, start + 2, start + 1 + (unpack_bytes('>I2', record, start)))
    start, nth = start + 2 + #word, nth + 1
    if nth == 1 then
      limit = functions[word]
      if limit == nil then return nil end
    elseif nth == 2 then
      if not any_queue and not queues[word] then return nil end
    else
      is_tagged, is_shared = true, is_shared or tags[word]
    end
  end
  if is_tagged and not is_shared then return nil end
  return limit
end

-- Walks the sets of admitted lanes between two bounds of the index, in its order. Returns a set without a lane after this many
-- sets that the request does not admit.
local PAGE, OTHERS_MAX = 64, 640
local function walk(from, to, is_patient)
  local page, records, nth, others = {}, {}, 0, 0
  return function()
    while true do
      nth = nth + 1
      if nth > #page then
        page = call('ZRANGEBYLEX', INDEX, from, to, 'LIMIT', 0, PAGE)
        if #page == 0 then return nil end
        from, nth = '(' .. page[#page], 1
        local ids = {}
        for n, entry in ipairs(page) do ids[n] = sub(entry, -10) end
        records = call('HMGET', LANES, unpack(ids))
      end
      local entry = page[nth]
      local limit = admitted(records[nth] or '')
      local first = sub(entry, 3, 26)
      if limit ~= nil then
        local id = sub(entry, -10)
        return {id = id, set = prefix .. 'l' .. sub(entry, 27, 27) .. ':' .. id, limit = limit, first = first}
      end
      others = others + 1
      if others == OTHERS_MAX and not is_patient then return {first = first} end
    end
  end
end

local END = rep('\255', 36)
local function walk_due(priority) return walk('[' .. priority, '(' .. priority .. now .. END, true) end
local function each_priority()
  local from = '-'
  return function()
    local first = call('ZRANGEBYLEX', INDEX, from, '+', 'LIMIT', 0, 1)[1]
    if not first then return nil end
    from = '(' .. sub(first, 1, 2) .. END
    return sub(first, 1, 2)
  end
end

-- Before it claims, a claim takes the slots of tasks whose leases have expired, if their function has room and due work. Only if
-- there are such slots does it look at all due lanes.
local function vacate()
  local overdue = {}
  for _, limit in ipairs(limits) do
    local set = prefix .. 'm:' .. limit.function_key
    if limit.concurrent and call('ZRANGEBYLEX', set, '-', DUE, 'LIMIT', 0, 1)[1] and has_room(limit) then
      overdue[limit] = set
    end
  end
  if not next(overdue) then return end
  for priority in each_priority() do
    for lane in walk_due(priority) do
      local set = overdue[lane.limit]
      if set and find(lane.set, '-', DUE, 1)[1] then
        overdue[lane.limit] = nil
        for _, member in ipairs(call('ZRANGEBYLEX', set, '-', DUE)) do
          local key = prefix .. 't:' .. sub(member, 9)
          call('SETRANGE', key, SLOT, VACATED)
          call('SETRANGE', key, REVISION, revision)
          call('ZREM', set, member)
        end
      end
    end
  end
end

-- Turns to the next due task of a lane's set. Returns whether there is one.
local function turn(lane)
  lane.nth = (lane.nth or 0) + 1
  if not lane.page or (lane.nth > #lane.page and #lane.page == lane.size) then
    lane.size = math.min(max - #claimed, PAGE)
    lane.page = find(lane.set, lane.page and '(' .. lane.page[#lane.page] or '-', DUE, lane.size)
    lane.nth = 1
  end
  lane.first = lane.page[lane.nth]
  return lane.first ~= nil
end

local function comes_before(one, other)
  local a, b, c, d, e, f = unpack_bytes('>I4I4I4I4I4I4', one.first)
  local u, v, w, x, y, z = unpack_bytes('>I4I4I4I4I4I4', other.first)
  if a ~= u then return a < u elseif b ~= v then return b < v elseif c ~= w then return c < w end
  if d ~= x then return d < x elseif e ~= y then return e < y end
  return f < z
end

-- The moment at which the next task becomes due, without the leases of this claim: their ends are later moments too.
local next_due = ''
local function note_later(set)
  local later = find(set, LATER, '+', 1)[1]
  if later and (next_due == '' or before(later, next_due)) then next_due = sub(later, 1, 8) end
end

-- Claims from the lanes of one priority, whose due tasks it merges. The first member of a set, which the index has, may be overdue,
-- so the set is read before its tasks are compared with others.
local function claim_group(priority)
  local next_lane = walk_due(priority)
  local seen, open, coming = {}, {}, next_lane()
  local function insert(lane) -- The first is at the end.
    local place = #open
    while place > 0 and comes_before(open[place], lane) do place = place - 1 end
    table.insert(open, place + 1, lane)
  end
  while #claimed < max do
    while coming and (#open == 0 or comes_before(coming, open[#open])) do
      seen[#seen + 1] = coming
      -- A full limit holds back one lane as well as many.
      local is_held = coming.limit and coming.limit.held
      if not is_held and turn(coming) then insert(coming) end
      coming = next_lane()
    end
    local lane = table.remove(open)
    if not lane then break end
    if lane.limit and not has_room(lane.limit) then
      lane.limit.held = true
    else
      -- A member without a task contradicts the rest: it goes, and holds up nobody.
      local member = lane.first
      local one = claim(lane, member, sub(member, 9))
      if one then claimed[#claimed + 1] = one else leave(lane.set, member) end
      if turn(lane) then insert(lane) end
    end
  end
  if #claimed == max then return end
  for _, lane in ipairs(seen) do note_later(lane.set) end
  for lane in walk('(' .. priority .. now .. END, '(' .. priority .. END, false) do
    if next_due ~= '' and not before(lane.first, next_due) then return end
    if not lane.set then
      next_due = sub(lane.first, 1, 8)
      return
    end
    note_later(lane.set)
  end
end

if max > 0 then vacate() end
for priority in each_priority() do
  if #claimed == max then break end
  claim_group(priority)
end
if #claimed == max then next_due = '' elseif out >= OUT_MAX then next_due = now end
for set, words in pairs(loses) do in_groups(leave, set, words) end
for set, words in pairs(gets) do in_groups(enter, set, words) end
in_groups(function(set, ...) call('ZADD', set, ...) end, prefix .. 'run', run_gets)
settle()
-- Limits that hold work back, with their usage.
local held = {}
for n, limit in ipairs(limits) do
  if limit.held and #claimed < max then
    local first_end = call('ZRANGEBYLEX', prefix .. 'm:' .. limit.function_key, LATER, '+', 'LIMIT', 0, 1)[1]
    held[#held + 1] = {
      n, limit.running or 0, first_end and sub(first_end, 1, 8) or '', limit.started or 0, limit.first or '',
    }
  end
end
local expired, next_expiry = {}, ''
for _, member in ipairs(call('ZRANGEBYLEX', prefix .. 'd', '-', '+', 'LIMIT', 0, expired_max + 1)) do
  if #expired < expired_max and not before(now, member) then
    expired[#expired + 1] = call('GETRANGE', prefix .. 't:' .. sub(member, 9), 0, LEN - 1)
  else
    next_expiry = sub(member, 1, 8)
    break
  end
end
local stopping = call('ZRANGE', prefix .. 'stop:' .. worker, 0, -1)
return {'ok', claimed, next_due, held, expired, next_expiry, stopping, foreign}
