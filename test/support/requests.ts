import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Response } from 'supertest';
import { parseAnswer } from '../../tools/fuzz/raw-connection.js';
import type { TestApp } from './app.js';
import type { Answer } from '../../tools/fuzz/contract.js';

export const JSON_TYPE = 'application/json';

/** Asks for money as text. */
export const TEXT_MONEY = { accept: 'application/json; money=string' };
export const TEXT_MONEY_TYPE = 'application/json; money=string; charset=utf-8';

/** What an answer with money as numbers is with money as text. */
export const moneyAsText = (body: string) =>
  body.replaceAll(
    /"(balance|amount|newBalance|newHeld|held|available|overdraftLimit|remaining|captured)":(-?\d+\.\d\d)(?=[,}])/g,
    '"$1":"$2"',
  );

/** The body of an open account with nothing on hold, without its time; see {@link withoutTime}. */
export const accountBody = (accountId: number, balance: string, version: number, more = ''): string =>
  `{"accountId":${accountId},"balance":${balance},"version":${version},"held":0.00,"available":${balance},` +
  `"overdraftLimit":0.00,"currency":"USD","status":"open"${more}}`;

export const withoutTime = ({ text }: { readonly text: string }): string =>
  text.replaceAll(/,"createdAt":"[^"]+"/g, '');

/** Posts a transaction. A text is sent unchanged, so that numbers and mistakes arrive as written. */
export async function post(
  app: TestApp,
  accountId: number | string,
  body: string | object,
  headers: Record<string, string> = {},
): Promise<Response> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return app.http
    .post(`/accounts/${accountId}/transactions`)
    .set({ 'content-type': JSON_TYPE, ...headers })
    .send(text);
}

export const deposit = (amount: string) => ({ amount, type: 'Deposit' });
export const withdrawal = (amount: string) => ({ amount, type: 'Withdraw' });

/** The balance by GET …/balance, read from the database. */
export async function balanceOf(app: TestApp, accountId: number): Promise<string> {
  const response = await app.http.get(`/accounts/${accountId}/balance`).set('cache-control', 'no-cache');
  return response.text;
}

export interface Receipt {
  readonly id: string;
  readonly type: string;
  readonly newVersion: string;
  readonly timestamp: string;
}

/** The receipt. Its type leaves out the amounts, which JSON.parse would round. */
export function receiptIn(response: { readonly text: string }): Receipt {
  return JSON.parse(response.text) as Receipt;
}

export interface Problem {
  readonly field: string;
  readonly message: string;
}

/** The fields that a 400 reports. */
export function fieldsIn(response: { readonly text: string }): string[] {
  const { details } = JSON.parse(response.text) as { details: Problem[] };
  return details.map((problem) => problem.field);
}

const RAW_TIMEOUT_MS = 5_000;

/** Sends raw bytes, for what no HTTP client would send, and reads until the server closes the connection. */
export function sendRaw(app: TestApp, bytes: string | Buffer): Promise<Answer> {
  const { hostname, port } = new URL(app.url);
  return new Promise((resolve, reject) => {
    const received: Buffer[] = [];
    const socket = connect(Number(port), hostname, () => socket.write(bytes));
    socket.setTimeout(RAW_TIMEOUT_MS, () =>
      socket.destroy(new Error('the server did not close the connection')),
    );
    socket.on('data', (data) => received.push(data));
    socket.on('error', reject);
    socket.on('close', () => {
      const parsed = parseAnswer(Buffer.concat(received), bytes.toString().startsWith('HEAD '), true);
      if (parsed) resolve(parsed.answer);
      else reject(new Error('the server closed the connection without an answer'));
    });
  });
}

/** A POST of a transaction with raw header lines, line breaks included. */
export function rawPost(accountId: number, headerLines: string, body: string): string {
  return (
    `POST /accounts/${accountId}/transactions HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n` +
    `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${headerLines}\r\n${body}`
  );
}

/** Repeats a check until it no longer throws: for what the service does just after its answer. */
export async function eventually(check: () => Promise<void>, timeoutMs = 5_000): Promise<void> {
  for (const giveUpAt = performance.now() + timeoutMs; ; await sleep(20)) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > giveUpAt) throw error;
    }
  }
}
