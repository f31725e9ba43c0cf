/* global AbortSignal, Headers, TextEncoder, btoa, crypto */
// The package in any runtime: it uses each part that depends on the platform.
import { BankClient, InsufficientBalanceError, webhooks } from '@scalable-banking/sdk';

/** @returns what should be the same everywhere */
export async function smoke(baseUrl) {
  const bank = new BankClient({ baseUrl });
  const { accountId } = await bank.accounts.open({ openingDeposit: '9999999999999990.00' });
  const { newBalance } = await bank.transactions.deposit(accountId, '9.99');
  const refused = await bank.transactions
    .withdraw(accountId, '9999999999999999.99', { expectedVersion: 3 })
    .then(() => bank.transactions.withdraw(accountId, '0.01'))
    .catch((error) => error);
  const types = [];
  for await (const { type } of bank.transactions.list(accountId, { limit: 1 })) types.push(type);
  const aborted = bank.accounts
    .get(accountId, { signal: AbortSignal.abort('left') })
    .catch((reason) => reason);
  return {
    newBalance,
    types,
    refused: [
      refused instanceof InsufficientBalanceError,
      refused.code,
      /^[\da-f-]{36}$/.test(refused.requestId),
    ],
    aborted: await aborted,
    event: (await delivery()).type,
  };
}

async function delivery() {
  const secret = crypto.getRandomValues(new Uint8Array(32));
  const body = '{"specversion":"1.0","id":"tr17","type":"transfer.completed.v1"}';
  const timestamp = String(Math.floor(Date.now() / 1000));
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', secret, algorithm, false, ['sign']);
  const signed = new TextEncoder().encode(`1.${timestamp}.${body}`);
  const signature = await crypto.subtle.sign('HMAC', key, signed);
  const base64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));
  const headers = new Headers({
    'webhook-id': '1',
    'webhook-timestamp': timestamp,
    'webhook-signature': `v1,${base64(signature)}`,
  });
  return webhooks.verify(body, headers, `whsec_${base64(secret)}`);
}
