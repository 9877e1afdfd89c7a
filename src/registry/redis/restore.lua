-- Writes the route of a connection that is there, unless a later login is known. Answers 0 for a later one; else 1, and the
-- route elsewhere that it takes the place of, if there is one. `register.lua` says what a user looks like.
local user, device, epoch, incarnation, keep = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local held = redis.call('HGET', user, device)
local is_here = held and #held == 16 and string.sub(held, 9) == incarnation
if held then
  local high, low = struct.unpack('>I4I4', epoch)
  local held_high, held_low = struct.unpack('>I4I4', held)
  if held_high > high or (held_high == high and held_low >= low) then
    if not is_here then return {0} end
    redis.call('PEXPIRE', user, keep)
    return {1}
  end
end
redis.call('HSET', user, device, epoch .. incarnation)
redis.call('PEXPIRE', user, keep)
if held and #held == 16 and not is_here then return {1, held} end
return {1}
