-- Everything that has not lapsed: name, bytes and the time left in ms, one behind the other.
-- KEYS: the index. ARGV: what the entries' keys begin with. All keys have the index's hash tag, so they are on its node.
local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time[1] * 1000 + math.floor(time[2] / 1000))
local found = {}
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local bytes = redis.call('GET', ARGV[1] .. name)
  local left = redis.call('PTTL', ARGV[1] .. name)
  if bytes and left > 0 then
    found[#found + 1] = name
    found[#found + 1] = bytes
    found[#found + 1] = tostring(left)
  end
end
return found
