import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startApp, type TestApp } from '../../../test/support/app.js';
import { TcpProxy, type Relay } from '../../../tools/stack/proxies/tcp-proxy.js';
import { BankClient, money, type Transaction } from '../src/index.js';

const CALLS = 10_000;
const AT_A_TIME = 64;
const ACCOUNTS = 8;
const OPENING = '1000000.00';
/** Of the pieces that pass, so many are followed by a cut: of requests, of answers, or in the middle of either. */
const CUT_SHARE = 0.06;
const LONGEST_DELAY_MS = 20;
/** Some twenty seconds, on a machine with other work. */
const TIMEOUT_MS = 300_000;

class CuttingProxy extends TcpProxy {
  cuts = 0;

  protected override relay(relay: Relay): void {
    super.relay(relay);
    const cutSometimes = () => {
      if (Math.random() > CUT_SHARE) return;
      setTimeout(() => {
        if (!relay.client.destroyed) this.cuts += 1;
        relay.cut();
      }, Math.random() * LONGEST_DELAY_MS);
    };
    relay.client.on('data', cutSometimes);
    relay.server.on('data', cutSometimes);
  }
}

/** What a call must have done: the transactions of each account, by id, with the amounts by which they move it. */
type Effects = readonly (readonly [accountId: number, transactionId: string | null, amount: string])[];

let app: TestApp;
let proxy: CuttingProxy;
let accounts: number[];
/** Past the proxy. */
let direct: BankClient;
let bank: BankClient;
let tries = 0;

beforeAll(async () => {
  app = await startApp();
  direct = new BankClient({ baseUrl: app.url });
  accounts = await Promise.all(
    Array.from(
      { length: ACCOUNTS },
      async () => (await direct.accounts.open({ openingDeposit: OPENING })).accountId,
    ),
  );
  const started = await CuttingProxy.start(app.url);
  proxy = started.proxy;
  const counted = (url: string, init: RequestInit) => {
    tries += 1;
    return fetch(url, init);
  };
  bank = new BankClient({ baseUrl: started.url, fetch: counted, maxRetries: 30 });
}, TIMEOUT_MS);

afterAll(async () => {
  await proxy.stop();
  await app.close();
});

/** One call of a kind that `i` decides. */
async function callNumber(i: number): Promise<Effects> {
  const [from, to] = [accounts[i % ACCOUNTS] ?? 0, accounts[(i * 3 + 1) % ACCOUNTS] ?? 0];
  const amount = `${(i % 97) + 1}.${String(i % 100).padStart(2, '0')}`;
  switch (i % 4) {
    case 0:
      return [[from, (await bank.transactions.deposit(from, amount)).id, amount]];
    case 1:
      return [[from, (await bank.transactions.withdraw(from, amount)).id, `-${amount}`]];
    case 2: {
      if (from === to) return [[from, (await bank.transactions.deposit(from, amount)).id, amount]];
      const { legs } = await bank.transfers.create({ from, to, amount });
      return legs.map((leg, at) => [leg.accountId, leg.transactionId, at === 0 ? `-${amount}` : amount]);
    }
    default:
      // A hold has the number of its transaction.
      return [[from, (await bank.holds.place(from, { amount })).id.replace('hold', 'txn'), '0.00']];
  }
}

describe('calls whose connections are cut at random times', () => {
  it(
    'are all answered, and applied once',
    async () => {
      const effects: Effects[number][] = [];
      let next = 0;
      const worker = async () => {
        while (next < CALLS) effects.push(...(await callNumber(next++)));
      };
      await Promise.all(Array.from({ length: AT_A_TIME }, worker));
      // So many cuts that the test means something.
      expect(proxy.cuts).toBeGreaterThan(CALLS / 50);
      expect(tries).toBeGreaterThan(CALLS + proxy.cuts / 4);
      for (const accountId of accounts) await compare(accountId, effects);
    },
    TIMEOUT_MS,
  );
});

/** Nothing is lost: each acknowledged transaction is there. Nothing is doubled: no other one is. */
async function compare(accountId: number, effects: Effects): Promise<void> {
  const expected = effects.filter(([id]) => id === accountId);
  const posted: Transaction[] = [];
  for await (const transaction of direct.transactions.list(accountId, { limit: 200 }))
    posted.push(transaction);
  const opening = posted.pop();
  expect(opening).toMatchObject({ amount: OPENING, newVersion: '2' });
  expect(posted.map(({ id }) => id).sort()).toEqual(expected.map(([, id]) => id).sort());
  expect(posted.map(({ newVersion }) => Number(newVersion))).toEqual(
    Array.from({ length: posted.length }, (_, i) => posted.length + 2 - i),
  );
  const { balance, version } = await direct.accounts.balance(accountId);
  expect(version).toBe(expected.length + 2);
  expect(balance).toBe(expected.map(([, , amount]) => amount).reduce(money.add, OPENING));
}
