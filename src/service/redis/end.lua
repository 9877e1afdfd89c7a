-- Ends a message that this instance holds, or holds it for longer. Answers with one of: done, settled and the answer,
-- lapsed. See claim.lua for what a window looks like.
local window, field = KEYS[1], 'm' .. ARGV[1]
local owner, how, answer, lease, keep = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]

local record = redis.call('HGET', window, field)
if not record then return {'lapsed'} end
if string.sub(record, 1, 1) == 'D' then return {'settled', string.sub(record, 18)} end
if string.sub(record, 18, 33) ~= owner then return {'lapsed'} end

if how == 'release' then
  redis.call('HDEL', window, field)
elseif how == 'renew' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSET', window, field, string.sub(record, 1, 33) .. string.format('%.0f', now + lease))
elseif tonumber(ARGV[1]) < tonumber(redis.call('HGET', window, 'floor') or 0) then
  -- Its client has settled it meanwhile.
  redis.call('HDEL', window, field)
else
  local done = 'D' .. string.sub(record, 2, 17) .. answer
  redis.call('HSET', window, field, done)
  redis.call('HINCRBY', window, 'bytes', #done)
end
redis.call('PEXPIRE', window, keep)
return {'done'}
