-- Who tells a service that a home is lost. A lost home's hash has a field for each service: `known`, or the incarnation of
-- the one who tells it and since when, in milliseconds. Answers with what stands there, without the time: `own` if nobody
-- else did, or it was `dead`, or did not get it told in `patience` milliseconds.
local losses, service, own, dead, patience, keep = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local present = redis.call('HGET', losses, service)
if present == 'known' then return present end
if present then
  local teller, since = string.match(present, '^(%x+) (%d+)$')
  if teller ~= own and teller ~= dead and now - since < patience then return teller end
end
redis.call('HSET', losses, service, own .. ' ' .. string.format('%d', now))
redis.call('PEXPIRE', losses, keep)
return own
