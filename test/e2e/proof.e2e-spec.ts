import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { archiveBank } from '../../src/admin/archive.js';
import { assignAccounts } from '../../src/admin/assign-accounts.js';
import { openWithHistory } from '../support/history.js';
import { openAccount, startApp, type TestApp } from '../support/app.js';
import { deposit, fieldsIn, post } from '../support/requests.js';

let app: TestApp;
let client: Client;

beforeAll(async () => {
  app = await startApp();
  client = new Client({ connectionString: app.databaseUrl });
  await client.connect();
});

afterAll(async () => {
  await client.end();
  await app.close();
});

interface Head {
  readonly accountId: number;
  readonly version: number;
  readonly hash: string;
}

interface Proof extends Head {
  readonly lines: string[];
  readonly nextFromVersion: number | null;
}

async function proofOf<T extends Head = Head>(accountId: number, query = ''): Promise<T> {
  const response = await app.http.get(`/accounts/${accountId}/proof${query}`);
  expect(response.status).toBe(200);
  return response.body as T;
}

/** Computed as a client would that only knows the rule; `sha256sum` gives the same. */
const onto = (hash: string, lines: readonly string[]) =>
  lines.reduce((previous, line) => createHash('sha256').update(`${previous}:${line}`).digest('hex'), hash);

/** Follows the proof from a stored head to the present one, however long it is. */
async function follow(kept: Head): Promise<{ computed: string; head: Proof; lines: string[] }> {
  const lines: string[] = [];
  for (let from: number | null = kept.version; ;) {
    const head: Proof = await proofOf<Proof>(kept.accountId, `?fromVersion=${from}`);
    lines.push(...head.lines);
    if (head.nextFromVersion === null) return { computed: onto(kept.hash, lines), head, lines };
    from = head.nextFromVersion;
  }
}

const ZEROS = '0'.repeat(64);

describe('GET /accounts/{accountId}/proof', () => {
  it('begins with a hash of zeros', async () => {
    const accountId = await openAccount(app);
    expect(await proofOf(accountId)).toEqual({ accountId, version: 1, hash: ZEROS });
    expect(await proofOf(accountId, '?fromVersion=1')).toEqual({
      accountId,
      version: 1,
      hash: ZEROS,
      lines: [],
      nextFromVersion: null,
    });
  });

  it('returns the line of each transaction and the hash that they lead to', async () => {
    const accountId = await openAccount(app, '1000.00');
    const first = await proofOf(accountId);
    const posted = await post(
      app,
      accountId,
      { amount: '0.10', type: 'withdraw' },
      { 'idempotency-key': 'a:b=c' },
    );
    const { location } = posted.headers as { location: string };
    const transactionId = location.replace('/transactions/txn', '');
    const resource = await app.http.get(location);
    const { timestamp } = resource.body as { timestamp: string };
    const proof = await proofOf<Proof>(accountId, `?fromVersion=${first.version}`);
    expect(proof.lines).toEqual([
      `${transactionId}:${accountId}:debit:0.10:999.90:3:${new Date(timestamp).getTime()}:=a:b=c`,
    ]);
    expect(proof).toMatchObject({ version: 3, hash: onto(first.hash, proof.lines), nextFromVersion: null });
    expect(onto(ZEROS, (await proofOf<Proof>(accountId, '?fromVersion=1')).lines)).toBe(proof.hash);
  });

  it('proves to a client that the history was only appended to', async () => {
    const accountId = await openAccount(app, '5.00');
    for (let n = 0; n < 3; n++) await post(app, accountId, deposit('1'));
    const kept = await proofOf(accountId);
    for (let n = 0; n < 3; n++) await post(app, accountId, deposit('1'));
    const { computed, head } = await follow(kept);
    expect(head).toMatchObject({ version: 8, hash: computed });
  });

  it('covers a history of many pages, partly in the archive', async () => {
    const accountId = await openWithHistory(client, 2_500);
    const kept = { accountId, version: 1, hash: ZEROS };
    const before = await follow(kept);
    expect(before.lines).toHaveLength(2_500);
    expect(before.computed).toBe(before.head.hash);
    await archiveBank([{ url: app.databaseUrl, schema: 'bank' }], new Date('2025-01-02'), { stepRows: 500 });
    const { rows } = await client.query('SELECT FROM bank.archived_transactions WHERE account_id = $1', [
      accountId,
    ]);
    expect(rows.length).toBeGreaterThan(1_000);
    expect(await follow(kept)).toEqual(before);
  });

  it.each([
    [
      'an amount is changed',
      'UPDATE bank.transactions SET amount = amount + 1 WHERE account_id = $1 AND version_after = 5',
    ],
    [
      'a time is changed',
      "UPDATE bank.transactions SET timestamp = timestamp + interval '1 ms' WHERE account_id = $1 AND version_after = 5",
    ],
    [
      'a key is taken away',
      'UPDATE bank.transactions SET idempotency_key = NULL WHERE account_id = $1 AND version_after = 5',
    ],
    ['a transaction is deleted', 'DELETE FROM bank.transactions WHERE account_id = $1 AND version_after = 5'],
  ])('tells a client when %s that came after its head', async (_what, sql) => {
    const accountId = await openAccount(app, '5.00');
    for (let n = 3; n <= 7; n++) await post(app, accountId, deposit('1'), { 'idempotency-key': `key-${n}` });
    const kept = { accountId, version: 1, hash: ZEROS };
    const whole = await follow(kept);
    expect(whole.computed).toBe(whole.head.hash);
    await client.query(sql, [accountId]);
    const { computed, head } = await follow(kept);
    expect(computed).not.toBe(head.hash);
  });

  it('shows a client that its head is not part of a rewritten history', async () => {
    const accountId = await openAccount(app, '5.00');
    await post(app, accountId, deposit('1'));
    const kept = await proofOf(accountId);
    // Somebody takes the last transaction back, and posts another one in its place.
    await client.query('DELETE FROM bank.transactions WHERE account_id = $1 AND version_after = 3', [
      accountId,
    ]);
    await client.query(
      `UPDATE bank.accounts SET balance = 5, version = 2, head_hash =
         (SELECT hash FROM bank.transactions WHERE account_id = $1) WHERE account_id = $1`,
      [accountId],
    );
    await post(app, accountId, deposit('2'));
    await post(app, accountId, deposit('3'));
    const { computed, head } = await follow(kept);
    expect(head.version).toBe(4);
    expect(computed).not.toBe(head.hash);
  });

  it('is a version mismatch from a version that the account has not reached, as after a rollback', async () => {
    const accountId = await openAccount(app, '5.00');
    const { version, hash } = await proofOf(accountId);
    expect(await proofOf(accountId, `?fromVersion=${version}`)).toEqual({
      accountId,
      version,
      hash,
      lines: [],
      nextFromVersion: null,
    });
    for (const ahead of [version + 1, '9007199254740993', '9223372036854775807']) {
      const response = await app.http.get(`/accounts/${accountId}/proof?fromVersion=${ahead}`);
      expect(response.status).toBe(409);
      expect(response.text).toBe('{"error":"Version mismatch","CurrentVersion":2}');
    }
  });

  it('proves changes of the account that are not transactions', async () => {
    const accountId = await openAccount(app);
    const before = await proofOf(accountId, '?fromRevision=1');
    expect(before).toEqual({ accountId, version: 1, hash: ZEROS, eventLines: [], nextFromRevision: null });
    const bank = [{ url: app.databaseUrl, schema: 'bank' }];
    for (const owner of ['ada', 'bob', undefined])
      await assignAccounts(bank, { accounts: [accountId], owner });
    interface EventsProof {
      readonly events: { readonly revision: number; readonly hash: string };
      readonly eventLines: string[];
    }
    const { events, eventLines } = await proofOf<Head & EventsProof>(accountId, '?fromRevision=1');
    expect(eventLines).toHaveLength(3);
    expect(eventLines[1]).toContain(`:${accountId}:2:`);
    expect(eventLines[1]).toMatch(/:\{"owner":"bob"\}$/);
    expect(events).toEqual({ revision: 3, hash: onto(ZEROS, eventLines) });
    expect(await proofOf(accountId)).toEqual({ accountId, version: 1, hash: ZEROS, events });
    const later = await proofOf<Head & EventsProof>(accountId, '?fromRevision=3');
    expect(onto(onto(ZEROS, eventLines.slice(0, 2)), later.eventLines)).toBe(events.hash);
    expect(await proofOf(accountId, '?fromRevision=4')).toMatchObject({ eventLines: [], events });
    const ahead = await app.http.get(`/accounts/${accountId}/proof?fromRevision=5`);
    expect(ahead.status).toBe(409);
  });

  it('rejects an invalid version and an account that was never opened', async () => {
    const accountId = await openAccount(app);
    for (const version of ['0', '-1', 'x', '1.5', '']) {
      const response = await app.http.get(`/accounts/${accountId}/proof?fromVersion=${version}`);
      expect(response.status).toBe(400);
      expect(fieldsIn(response)).toEqual(['fromVersion']);
    }
    const response = await app.http.get('/accounts/999999/proof');
    expect(response.status).toBe(404);
    expect(response.text).toBe('{"error":"Account not found"}');
  });
});
