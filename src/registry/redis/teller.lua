-- Changes who tells a service that a home is lost, if that is still who is expected; '' is nobody. A lost home's hash has a
-- field for each service. Answers with what stands there then.
local losses, service, expected, teller, keep = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local present = redis.call('HGET', losses, service) or ''
if present ~= expected then return present end
redis.call('HSET', losses, service, teller)
redis.call('PEXPIRE', losses, keep)
return teller
