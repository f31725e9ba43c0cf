-- wrk: balances. Arguments: first account, last account, step.
local first, last, step
function init(args)
  first, last, step = tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
end

function request()
  return wrk.format('GET', '/accounts/' .. first + step * math.random(0, math.floor((last - first) / step)) .. '/balance')
end
