-- A service knows from this home that another one is lost. Not if another home tells it by now, or the lost one is back and
-- nobody tells of it any more. `claim.lua` says what a lost home looks like.
local losses, service, own = KEYS[1], ARGV[1], ARGV[2]

local present = redis.call('HGET', losses, service)
if present and string.match(present, '^%x+') == own then redis.call('HSET', losses, service, 'known') end
return 1
