-- Takes a message, or only looks at it. Answers with one of: free, held, settled and the answer, stale, conflict, full.
--
-- A window is one hash: `floor`, the highest oldest-unsettled id; `told`, whether the client names it; `bytes`, what its
-- answers hold; and per id, `m17`, one of
--   R payload-hash(16) owner(16) milliseconds    running, held by that instance until then
--   D payload-hash(16) answer                    done
-- Ids stay below 2^53, which a Lua number holds exactly.
local window = KEYS[1]
local id, oldest = tonumber(ARGV[1]), tonumber(ARGV[2])
local payload, owner = ARGV[3], ARGV[4]
local lease, keep, reply_bytes, window_ids = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local takes = ARGV[9] == '1'

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local head = redis.call('HMGET', window, 'floor', 'bytes', 'told')
local floor, bytes, told = tonumber(head[1] or 0), tonumber(head[2] or 0), head[3]

-- Drops a done message; what runs must still find its place.
local function drop(field)
  local record = redis.call('HGET', window, field)
  if record and string.sub(record, 1, 1) == 'D' then
    redis.call('HDEL', window, field)
    bytes = bytes - #record
  end
end

local function drop_all(where)
  local ids = {}
  for _, field in ipairs(redis.call('HKEYS', window)) do
    local number = string.match(field, '^m(%d+)$')
    if number then ids[#ids + 1] = tonumber(number) end
  end
  table.sort(ids)
  for _, number in ipairs(ids) do
    if not where(number) then return end
    drop(string.format('m%.0f', number))
  end
end

if oldest > 0 and not told then
  told = '1'
  redis.call('HSET', window, 'told', told)
end
-- A client sends nothing further above its oldest unsettled id, so that one is not below this.
local settled = math.max(oldest, id - window_ids + 1)
if settled > floor then
  if settled - floor <= window_ids then
    for number = floor, settled - 1 do drop(string.format('m%.0f', number)) end
  else
    drop_all(function(number) return number < settled end)
  end
  floor = settled
  redis.call('HSET', window, 'floor', string.format('%.0f', floor), 'bytes', bytes)
  redis.call('PEXPIRE', window, keep)
end

if id < floor then return {'stale'} end
local field = 'm' .. ARGV[1]
local record = redis.call('HGET', window, field)
if record then
  if string.sub(record, 2, 17) ~= payload then return {'conflict'} end
  if string.sub(record, 1, 1) == 'D' then return {'settled', string.sub(record, 18)} end
  if string.sub(record, 18, 33) ~= owner and tonumber(string.sub(record, 34)) > now then return {'held'} end
elseif bytes >= reply_bytes then
  if not told then
    -- The client never says what it has settled: the lowest go.
    drop_all(function() return bytes >= reply_bytes end)
    redis.call('HSET', window, 'bytes', bytes)
  elseif id > oldest then
    -- The oldest one is let in: nothing of the window can go before it has its answer.
    return {'full'}
  end
end
if takes then
  redis.call('HSET', window, field, 'R' .. payload .. owner .. string.format('%.0f', now + lease))
  redis.call('PEXPIRE', window, keep)
end
return {'free'}
