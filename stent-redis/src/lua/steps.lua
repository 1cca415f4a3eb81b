-- Reads the steps of several tasks as of one moment. Returns a list per task: the row and the result of each step in turn.
-- KEYS[1]: the prefix of the namespace and any 4 bytes. ARGV: for each task its id, then '' for all its steps, or a number of
-- completions in four bytes for the later completions and the maps that are still open.
local call = redis.call
local prefix = string.sub(KEYS[1], 1, -5)
local answer = {}
for n = 1, #ARGV, 2 do
  local task, seen = ARGV[n], ARGV[n + 1]
  local members
  if seen == '' then
    members = call('ZRANGE', prefix .. 'c:' .. task, 0, -1)
  else
    local from = '(' .. seen .. string.rep('\255', 16)
    members = call('ZRANGEBYLEX', prefix .. 'f:' .. task, from, '+')
    for _, map in ipairs(call('ZRANGE', prefix .. 'om:' .. task, 0, -1)) do
      members[#members + 1] = map
    end
  end
  local steps = {}
  for _, member in ipairs(members) do
    local id = string.sub(member, -16)
    steps[#steps + 1] = call('GET', prefix .. 't:' .. id)
    steps[#steps + 1] = call('GET', prefix .. 'r:' .. id)
  end
  answer[#answer + 1] = steps
end
return answer
