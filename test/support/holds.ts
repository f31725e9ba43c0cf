import type { Response } from 'supertest';
import type { TestApp } from './app.js';
import { query } from './postgres.js';

type Headers = Record<string, string>;

/** A hold, as answers have it. Amounts are of a size that a double keeps. */
export interface HoldBody {
  readonly id: string;
  readonly accountId: number;
  readonly amount: number;
  readonly remaining: number;
  readonly captured: number;
  readonly status: string;
  readonly expiresAt?: string;
  readonly held?: number;
  readonly available?: number;
  readonly newVersion?: string;
}

export const holdIn = ({ text }: { readonly text: string }): HoldBody => JSON.parse(text) as HoldBody;

export async function placeHold(
  app: TestApp,
  accountId: number,
  body: object,
  headers: Headers = {},
  query = '',
): Promise<Response> {
  return app.http.post(`/accounts/${accountId}/holds${query}`).set(headers).send(body);
}

/** Places a hold that must succeed. @returns its id */
export async function placed(app: TestApp, accountId: number, amount: string, more = {}): Promise<string> {
  const response = await placeHold(app, accountId, { amount, ...more });
  if (response.status !== 201) throw new Error(`could not place a hold: ${response.text}`);
  return holdIn(response).id;
}

export async function capture(
  app: TestApp,
  holdId: string,
  body?: object,
  headers: Headers = {},
  query = '',
): Promise<Response> {
  return app.http.post(`/holds/${holdId}/capture${query}`).set(headers).send(body);
}

export async function voidHold(
  app: TestApp,
  holdId: string,
  body?: object,
  headers: Headers = {},
  query = '',
): Promise<Response> {
  return app.http.post(`/holds/${holdId}/void${query}`).set(headers).send(body);
}

/** Lets a hold expire now, or after so many milliseconds: the shortest time that a client may give is a second. */
export const expireIn = (app: TestApp, holdId: string, ms = 0) =>
  query(
    app.databaseUrl,
    `UPDATE bank.holds SET expires_at = clock_timestamp() + $2 * interval '1 ms' WHERE hold_id = $1`,
    [holdId.slice(4), ms],
  );

/** Changes an account that is not a transaction. */
export async function change(
  app: TestApp,
  accountId: number,
  body: object | string,
  headers: Headers = {},
): Promise<Response> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return app.http
    .patch(`/accounts/${accountId}`)
    .set({ 'content-type': 'application/json', ...headers })
    .send(text);
}

/** Balance, held and available of an account, and its version, as it is in the database. */
export async function figuresOf(app: TestApp, accountId: number): Promise<string> {
  const { text } = await app.http.get(`/accounts/${accountId}`);
  return /"balance":.*?"available":-?[\d.]+/.exec(text)?.[0].replaceAll('"', '') ?? text;
}
