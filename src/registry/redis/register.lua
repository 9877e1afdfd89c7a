-- Writes the route of a login. Answers with its epoch, and with the route that it takes the place of, if there is one.
--
-- A user is one hash, whose fields are devices. A value is
--   epoch(8) incarnation(8)    a route
--   epoch(8) seconds(4)        what is left of a deleted one until that Unix time
-- all big endian. An epoch is two numbers of 32 bits here, because a Lua number holds no more than 53 bits exactly.
local user, device, asked, incarnation = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local keep, most = ARGV[4], tonumber(ARGV[5])

local high, low = struct.unpack('>I4I4', asked)
local held = redis.call('HGET', user, device)
if held then
  local held_high, held_low = struct.unpack('>I4I4', held)
  if held_high > high or (held_high == high and held_low > low) then high, low = held_high, held_low end
end
if low < 4294967295 then
  low = low + 1
elseif high < 4294967295 then
  high, low = high + 1, 0
end
local epoch = struct.pack('>I4I4', high, low)
redis.call('HSET', user, device, epoch .. incarnation)
redis.call('PEXPIRE', user, keep)

-- Whoever makes up devices must not fill the memory: what is deleted goes first, then what logged in first.
if not held and redis.call('HLEN', user) > most then
  local all = redis.call('HGETALL', user)
  local first, first_high, first_low
  for i = 1, #all, 2 do
    local value = all[i + 1]
    if #value == 12 then
      redis.call('HDEL', user, all[i])
    elseif all[i] ~= device then
      local h, l = struct.unpack('>I4I4', value)
      if not first or h < first_high or (h == first_high and l < first_low) then
        first, first_high, first_low = all[i], h, l
      end
    end
  end
  if first and redis.call('HLEN', user) > most then redis.call('HDEL', user, first) end
end

if held and #held == 16 then return {epoch, held} end
return {epoch}
