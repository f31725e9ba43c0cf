-- wrk: holds of a cent, each captured as soon as one is known, all with unique idempotency keys. Two requests are a pair.
-- Arguments: first account, last account, step, a name of this run.
local threads = 0
function setup(thread)
  thread:set('id', threads)
  threads = threads + 1
end

local first, step, steps, run, sent
local placed = {}
local headers = { ['Content-Type'] = 'application/json' }
function init(args)
  first, step, run, sent = tonumber(args[1]), tonumber(args[3]), args[4], 0
  steps = math.floor((tonumber(args[2]) - first) / step)
  math.randomseed(os.time() + id)
end

function request()
  sent = sent + 1
  headers['Idempotency-Key'] = run .. '-' .. id .. '-' .. sent
  local hold = table.remove(placed, 1)
  if hold then return wrk.format('POST', '/holds/' .. hold .. '/capture', headers, '{}') end
  local path = '/accounts/' .. first + step * math.random(0, steps) .. '/holds'
  return wrk.format('POST', path, headers, '{"amount":0.01}')
end

function response(status, responseHeaders, body)
  local hold = body:match('"id":"(hold%d+)"')
  if hold then placed[#placed + 1] = hold end
end
