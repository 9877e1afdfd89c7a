-- Deletes the route of this epoch and incarnation, but no other one. Answers whether it was there. `register.lua` says what
-- a user looks like.
local user, device, epoch, incarnation, tombstone = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

if redis.call('HGET', user, device) ~= epoch .. incarnation then return 0 end
local now = tonumber(redis.call('TIME')[1])
redis.call('HSET', user, device, epoch .. struct.pack('>I4', now + tombstone))

local all, lives = redis.call('HGETALL', user), false
for i = 1, #all, 2 do
  local value = all[i + 1]
  if #value == 16 then
    lives = true
  elseif struct.unpack('>I4', string.sub(value, 9)) <= now then
    redis.call('HDEL', user, all[i])
  end
end
if not lives then redis.call('PEXPIRE', user, tombstone * 1000) end
return 1
