import { parse } from 'lossless-json';
import type { Answer, OpenApiContract, Operation } from './contract.js';
import type { Sent } from './draft.js';

/** The operation that a request is for, according to the document. */
export type Asked = Operation | 'nothing documented' | 'Swagger UI';

/** Any of these is a right answer to a malformed request. */
const REFUSALS = [400, 413, 415, 417, 431];
/** The limit of names and values. Node decides what else of the lines counts. */
const HEAD_LIMIT_BYTES = 16 * 1024;
const HEAD_TOLERANCE = 0.9;
const HEADERS_LIMIT = 1_000;
const SANE_REQUEST_ID = /^[A-Za-z0-9._~:/+=@-]{1,128}$/;

/** Finds the operation for the method and target of a request line. */
export function askedFor(contract: OpenApiContract, { method, target }: Sent): Asked {
  const segments = segmentsOf(target);
  if (['docs', 'openapi.json'].includes(segments[0] ?? '')) return 'Swagger UI';
  const routes = contract.routes.filter(({ path }) => matches(segmentsOf(path), segments));
  // By OpenAPI, a path without parameters comes before one with them, whatever their methods.
  const nearest = routes.filter(({ path }) => !path.includes('{'));
  const route = (nearest.length > 0 ? nearest : routes).find(
    (documented) => documented.method === (method === 'HEAD' ? 'GET' : method),
  );
  return route?.operation ?? 'nothing documented';
}

/** The path segments of a request's target. */
function segmentsOf(target: string): string[] {
  const path = target.replace(/^\w+:\/\/[^/?#]*/, '').replace(/[?#].*$/s, '');
  return path.split('/').slice(1).map(decoded);
}

function matches(documented: readonly string[], segments: readonly string[]): boolean {
  return (
    documented.length === segments.length &&
    documented.every((part, index) => {
      const segment = segments[index] ?? '';
      return part.startsWith('{') ? segment !== '' : part === segment;
    })
  );
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** The problems of an answer; empty: there are none. */
export function problemsOf(contract: OpenApiContract, asked: Asked, sent: Sent, answer: Answer): string[] {
  return [
    ...(answer.status >= 500 || answer.status === 408 ? [`status ${answer.status}: a defect`] : []),
    ...undocumented(contract, asked, sent, answer),
    ...verdictProblems(asked, sent, answer),
    ...requestIdProblems(sent, answer),
    ...receiptsIn(asked, sent, answer).flatMap(receiptProblems),
  ];
}

function undocumented(contract: OpenApiContract, asked: Asked, sent: Sent, answer: Answer): string[] {
  if (asked === 'Swagger UI') return [];
  const isHead = sent.method === 'HEAD';
  const isGeneral = asked === 'nothing documented' || isRefusedAsHttp(sent, answer.status);
  if (isGeneral) return contract.generalAnswerProblems(answer, { isHead });
  const lists400 = '400' in asked.responses;
  if (answer.status === 400 && !lists400) return contract.generalAnswerProblems(answer, { isHead });
  return contract.answerProblems(asked.operationId, answer, { isHead });
}

/** Whether a status is a general one that the request's head explains. */
function isRefusedAsHttp({ target, headers }: Sent, status: number): boolean {
  if (status === 417) return headers.some(([name]) => name.toLowerCase() === 'expect');
  const head = headers.reduce((sum, pair) => sum + pair.join('').length, target.length);
  return status === 431 && (headers.length >= HEADERS_LIMIT || head > HEAD_LIMIT_BYTES * HEAD_TOLERANCE);
}

function verdictProblems(asked: Asked, { verdict }: Sent, { status }: Answer): string[] {
  const isRefused =
    REFUSALS.includes(status) || ([404, 405].includes(status) && asked === 'nothing documented');
  if (verdict === 'well-formed' && isRefused) return ['a well-formed request is refused as malformed'];
  return verdict === 'malformed' && !isRefused ? ['a malformed request is not refused as such'] : [];
}

/** By the document, the answer repeats the client's id if it is a sane one. */
function requestIdProblems({ headers }: Sent, answer: Answer): string[] {
  const given = headers.filter(([name]) => name.toLowerCase() === 'x-request-id');
  const id = given[0]?.[1].trim() ?? '';
  const returned = answer.headers['x-request-id'];
  const isAnswerToIt = given.length === 1 && SANE_REQUEST_ID.test(id) && !isOfNoRequest(answer);
  return isAnswerToIt && returned !== id ? [`X-Request-Id is ${returned}, not the client's ${id}`] : [];
}

/** An answer to bytes that were not HTTP, so had no headers either. */
function isOfNoRequest({ status, text }: Answer): boolean {
  return status === 431 || (status === 400 && text.includes('"field":"request"'));
}

type Fields = Readonly<Record<string, unknown>>;

/** An accepted transaction: its request and its answer. */
export interface Accepted {
  readonly accountId: number;
  readonly asked: Fields;
  readonly receipt: Fields;
}

/** The transactions that an answer acknowledges. */
export function receiptsIn(operation: Asked, { target, body }: Sent, { status, text }: Answer): Accepted[] {
  const read = () => parse(Buffer.from(body, 'latin1').toString());
  if (typeof operation !== 'object') return [];
  if (operation.operationId === 'postTransaction' && status === 201) {
    const accountId = Number(segmentsOf(target)[1]);
    return [{ accountId, asked: read() as Fields, receipt: parse(text) as Fields }];
  }
  if (operation.operationId !== 'postBatch' || status !== 200) return [];
  const results = parse(text) as { status: unknown; body: Fields }[];
  // A body with nothing accepted is not parsed: it may be too deep for this parser, though not for the service's.
  if (!results.some(({ status: one }) => String(one) === '201')) return [];
  const sent = read() as Fields | Fields[];
  const items = (Array.isArray(sent) ? sent : sent['transactions']) as Fields[];
  return results.flatMap((result, place) => {
    const asked = items[place] ?? {};
    if (String(result.status) !== '201') return [];
    return [{ accountId: Number(String(asked['accountId'])), asked, receipt: result.body }];
  });
}

/** An accepted transaction must match its request to the cent. */
function receiptProblems({ asked, receipt }: Accepted): string[] {
  const word = String(asked['type'] ?? asked['typeOfTransaction']).toLowerCase();
  const type = ['deposit', 'credit'].includes(word) ? 'Deposit' : 'Withdraw';
  const [amount, posted] = [asked['amount'] ?? asked['moneyWithdraw/Deposit'], receipt['amount']].map(
    centsOf,
  );
  return amount === posted && receipt['type'] === type ? [] : ['the receipt is of another transaction'];
}

/** The cents of a decimal with at most two places. */
export function centsOf(amount: unknown): bigint {
  const [whole = '', fraction = ''] = String(amount).split('.');
  return BigInt(whole + fraction.padEnd(2, '0'));
}
