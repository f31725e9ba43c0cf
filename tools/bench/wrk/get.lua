-- wrk: balances. Arguments: first account, last account, step.
local first, last, step
local headers = { ['Authorization'] = os.getenv('BENCH_AUTHORIZATION') }
function init(args)
  first, last, step = tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
end

function request()
  local path = '/accounts/' .. first + step * math.random(0, math.floor((last - first) / step)) .. '/balance'
  return wrk.format('GET', path, headers)
end
