-- wrk: balances. Arguments: first account, last account.
local first, last
function init(args)
  first, last = tonumber(args[1]), tonumber(args[2])
end

function request()
  return wrk.format('GET', '/accounts/' .. math.random(first, last) .. '/balance')
end
