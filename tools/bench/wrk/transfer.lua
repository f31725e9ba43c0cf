-- wrk: transfers of a cent with unique idempotency keys, between random accounts, or with FROM or TO as one end of all.
-- ACROSS: always to the other one of two shards, which hold the odd and the even accounts of an even number.
-- Arguments: first account, last account, step, a name of this run.
local threads = 0
function setup(thread)
  thread:set('id', threads)
  threads = threads + 1
end

local from, to = tonumber(os.getenv('BENCH_FROM')), tonumber(os.getenv('BENCH_TO'))
local across = os.getenv('BENCH_ACROSS')
local first, step, steps, run, sent
local headers = { ['Content-Type'] = 'application/json' }
function init(args)
  first, step, run, sent = tonumber(args[1]), tonumber(args[3]), args[4], 0
  steps = math.floor((tonumber(args[2]) - first) / step)
  math.randomseed(os.time() + id)
end

function request()
  sent = sent + 1
  headers['Idempotency-Key'] = run .. '-' .. id .. '-' .. sent
  local one = math.random(0, steps)
  -- Another one, never the same.
  local further = across and 2 * math.random(0, (steps - 1) / 2) or math.random(0, steps - 1)
  local other = (one + 1 + further) % (steps + 1)
  local body = '{"from":' .. (from or first + step * one) .. ',"to":' .. (to or first + step * other) .. ',"amount":0.01}'
  return wrk.format('POST', '/transfers', headers, body)
end
