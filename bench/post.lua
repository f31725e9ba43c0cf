-- wrk: deposits with unique idempotency keys. Arguments: first account, last account, a name of this run.
local threads = 0
function setup(thread)
  thread:set('id', threads)
  threads = threads + 1
end

local first, last, run, sent
local headers = { ['Content-Type'] = 'application/json' }
function init(args)
  first, last, run, sent = tonumber(args[1]), tonumber(args[2]), args[3], 0
  math.randomseed(os.time() + id)
end

function request()
  sent = sent + 1
  headers['Idempotency-Key'] = run .. '-' .. id .. '-' .. sent
  local path = '/accounts/' .. math.random(first, last) .. '/transactions'
  return wrk.format('POST', path, headers, '{"amount":1.00,"type":"Deposit"}')
end
