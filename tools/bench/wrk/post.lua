-- wrk: deposits with unique idempotency keys. Arguments: first account, last account, step, a name of this run.
local threads = 0
function setup(thread)
  thread:set('id', threads)
  threads = threads + 1
end

local first, step, steps, run, sent
local headers = { ['Content-Type'] = 'application/json', ['Authorization'] = os.getenv('BENCH_AUTHORIZATION'), ['Prefer'] = os.getenv('BENCH_PREFER') }
function init(args)
  first, step, run, sent = tonumber(args[1]), tonumber(args[3]), args[4], 0
  steps = math.floor((tonumber(args[2]) - first) / step)
  math.randomseed(os.time() + id)
end

function request()
  sent = sent + 1
  headers['Idempotency-Key'] = run .. '-' .. id .. '-' .. sent
  local path = '/accounts/' .. first + step * math.random(0, steps) .. '/transactions'
  return wrk.format('POST', path, headers, '{"amount":1.00,"type":"Deposit"}')
end
