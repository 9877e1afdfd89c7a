-- Runs the commands of an effect and stores the answer, if this instance holds the message and it has no answer yet.
-- Answers with one of: done; settled and the answer; lapsed; and, if a command failed, its number and what Redis said:
-- refused, when it was the first and nothing was done, or broken, when those before it were done; then the message is
-- settled with the other answer, so that they are not done again. See claim.lua for what a window looks like.
local window, field = KEYS[1], 'm' .. ARGV[1]
local owner, answer, broken, keep = ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local record = redis.call('HGET', window, field)
if not record then return {'lapsed'} end
if string.sub(record, 1, 1) == 'D' then return {'settled', string.sub(record, 18)} end
if string.sub(record, 18, 33) ~= owner then return {'lapsed'} end

local function settle(with)
  local done = 'D' .. string.sub(record, 2, 17) .. with
  redis.call('HSET', window, field, done)
  redis.call('HINCRBY', window, 'bytes', #done)
  redis.call('PEXPIRE', window, keep)
end

local at, number = 6, 0
while at <= #ARGV do
  local words = tonumber(ARGV[at])
  number = number + 1
  local result = redis.pcall(unpack(ARGV, at + 1, at + words))
  if type(result) == 'table' and result.err then
    if number == 1 then return {'refused', '1', result.err} end
    settle(broken)
    return {'broken', tostring(number), result.err}
  end
  at = at + words + 1
end
settle(answer)
return {'done'}
