import { parse } from 'lossless-json';
import type { Answer, OpenApiContract, Operation, Route } from './contract.js';
import type { Sent } from './draft.js';
import { formAskedFor } from './forms.js';

/** The operation that a request is for, according to the document. */
export type Asked = Operation | 'another method' | 'nothing documented' | 'Swagger UI';

/** Any of these is a right answer to a malformed request. */
const REFUSALS = [400, 413, 415, 417, 431];
/** The limit of names and values. Node decides what else of the lines counts. */
const HEAD_LIMIT_BYTES = 16 * 1024;
const HEAD_TOLERANCE = 0.9;
const HEADERS_LIMIT = 1_000;
/** The types of a batch with a transaction on each line. */
const LINES = ['application/x-ndjson', 'application/jsonl'];
const SANE_REQUEST_ID = /^[A-Za-z0-9._~:/+=@-]{1,128}$/;

/** Finds the operation for the method and target of a request line. */
export function askedFor(contract: OpenApiContract, { method, target }: Sent): Asked {
  if (['docs', 'openapi.json'].includes(segmentsOf(target)[0] ?? '')) return 'Swagger UI';
  const routes = routesOf(contract, target);
  const asked = routes.find((route) => route.method === (method === 'HEAD' ? 'GET' : method));
  return asked?.operation ?? (routes.length > 0 ? 'another method' : 'nothing documented');
}

/** The operations on the path of a target. A path without parameters comes before one whose parameter it could be. */
function routesOf({ routes }: OpenApiContract, target: string): readonly Route[] {
  const segments = segmentsOf(target);
  const matching = routes.filter(({ path }) => matches(segmentsOf(path), segments));
  const path = (matching.find((route) => !route.path.includes('{')) ?? matching[0])?.path;
  return matching.filter((route) => route.path === path);
}

/** Whether it is about accounts and transactions, not about health. */
export const isOfApi = (asked: Asked) =>
  typeof asked === 'object' ? '400' in asked.responses : asked !== 'Swagger UI';

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

/** A new bank has not been summed up yet. */
const isDefect = ({ status, headers }: Answer) =>
  (status >= 500 && headers['x-error-code'] !== 'SUMMARY_NOT_READY') || status === 408;

/** The problems of an answer; empty: there are none. */
export function problemsOf(contract: OpenApiContract, asked: Asked, sent: Sent, answer: Answer): string[] {
  return [
    ...(isDefect(answer) ? [`status ${answer.status}: a defect`] : []),
    ...undocumented(contract, asked, sent, answer),
    ...verdictProblems(asked, sent, answer),
    ...methodProblems(contract, asked, sent, answer),
    ...formProblems(asked, sent, answer),
    ...codeProblems(contract, answer),
    ...requestIdProblems(sent, answer),
    ...dryRunProblems(sent, answer),
    ...receiptsIn(asked, sent, answer).flatMap(receiptProblems),
  ];
}

function undocumented(contract: OpenApiContract, asked: Asked, sent: Sent, answer: Answer): string[] {
  if (asked === 'Swagger UI') return [];
  const isHead = sent.method === 'HEAD';
  const isGeneral = typeof asked !== 'object' || isRefusedAsHttp(sent, answer.status);
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
  const isRefused = REFUSALS.includes(status) || (typeof asked !== 'object' && [404, 405].includes(status));
  if (verdict === 'well-formed' && isRefused) return ['a well-formed request is refused as malformed'];
  return verdict === 'malformed' && !isRefused ? ['a malformed request is not refused as such'] : [];
}

/** RFC 9110, 15.5.6 and 9.3.7: the methods of a path are told to those who ask for them, or for another one. */
function methodProblems(
  contract: OpenApiContract,
  asked: Asked,
  { method, target, verdict }: Sent,
  { status, headers }: Answer,
): string[] {
  if (asked !== 'another method') return [];
  const expected = method === 'OPTIONS' ? 204 : 405;
  if (status !== expected)
    return verdict === 'wrong method' ? [`status ${status} for a wrong method, not ${expected}`] : [];
  const methods = routesOf(contract, target).map((route) => route.method);
  const allowed = [...methods, ...(methods.includes('GET') ? ['HEAD'] : []), 'OPTIONS'].sort().join(', ');
  return headers['allow'] === allowed ? [] : [`Allow is ${headers['allow']}, not ${allowed}`];
}

/** An answer has the form that its request asks for, and says that this depends on the request. */
function formProblems(asked: Asked, { headers }: Sent, answer: Answer): string[] {
  if (asked === 'Swagger UI') return [];
  const varies = /\baccept\b/i.test(answer.headers['vary'] ?? '') ? [] : ['Vary does not name Accept'];
  const form = formAskedFor(headers);
  const type = answer.headers['content-type'] ?? '';
  if (!form || !isOfApi(asked) || isOfNoRequest(answer) || !type.includes('json')) return varies;
  // The results of a batch are a list in both forms.
  const isProblem = answer.status >= 400 && form.problems && !BATCH_RESULTS.test(answer.text);
  if (isProblem !== type.startsWith('application/problem+json'))
    return [...varies, `an error of type ${type}`];
  const documented = typeof asked === 'object' ? asked.responses[answer.status]?.content : undefined;
  const hasTextForm = Object.keys(documented ?? {}).some((one) => one.includes('money=string'));
  return hasTextForm && form.textMoney !== type.includes('money=string')
    ? [...varies, `money of type ${type}`]
    : varies;
}

const BATCH_RESULTS = /^\[?{"status":\d/;

/** Every error has a code, in its headers and beside the status of a result in a batch; nothing else has one. */
function codeProblems(contract: OpenApiContract, { status, headers, text }: Answer): string[] {
  const problems =
    status >= 400 === 'x-error-code' in headers ? [] : [`X-Error-Code is ${headers['x-error-code']}`];
  if (!BATCH_RESULTS.test(text)) return problems;
  const results = (text.startsWith('[') ? parse(text) : linesIn(text)) as {
    status: unknown;
    code?: string;
  }[];
  const wrong = results.find(({ status: one, code }) => !isCodeOf(contract, String(one), code));
  return wrong
    ? [...problems, `a result with status ${String(wrong.status)} has the code ${wrong.code}`]
    : problems;
}

/** The status of a result may be one that no single request gets: 424. */
function isCodeOf({ statusesOfCode }: OpenApiContract, status: string, code: string | undefined): boolean {
  if (code === undefined || Number(status) < 400) return code === undefined && Number(status) < 400;
  return statusesOfCode.get(code)?.has(status) ?? status === '424';
}

/** By the document, the answer repeats the client's id if it is a sane one. */
function requestIdProblems({ headers }: Sent, answer: Answer): string[] {
  const given = headers.filter(([name]) => name.toLowerCase() === 'x-request-id');
  const id = given[0]?.[1].trim() ?? '';
  const returned = answer.headers['x-request-id'];
  const isAnswerToIt = given.length === 1 && SANE_REQUEST_ID.test(id) && !isOfNoRequest(answer);
  return isAnswerToIt && returned !== id ? [`X-Request-Id is ${returned}, not the client's ${id}`] : [];
}

/** An answer to bytes that were not HTTP, so had no headers either. Without a body it may be one. */
export function isOfNoRequest({ status, text }: Answer): boolean {
  return status === 431 || (status === 400 && (text === '' || text.includes('"field":"request"')));
}

type Fields = Readonly<Record<string, unknown>>;

/** A command that was carried out: its request and its answer. */
export interface Accepted {
  readonly asked: Fields;
  readonly receipt: Fields;
}

/** A transaction that an answer tells of. */
export interface Movement {
  readonly id: string;
  readonly type: string;
  readonly cents: bigint;
}

/** Operations that carry out one command. The end of a hold is answered with the hold, and 200. */
const COMMANDS: Readonly<Record<string, number>> = {
  ...{ postTransaction: 201, postTransfer: 201, placeHold: 201, captureHold: 201, voidHold: 200 },
  ...{ reverseTransaction: 201, reverseTransfer: 201 },
};

/** The commands that an answer acknowledges. Those of dry runs are not carried out. */
export function receiptsIn(operation: Asked, sent: Sent, { status, text }: Answer): Accepted[] {
  if (typeof operation !== 'object' || (status === 200 && isDryRun(sent))) return [];
  if (COMMANDS[operation.operationId] === status) {
    const asked = sent.body === '' ? {} : (parse(textOf(sent)) as Fields);
    return [{ asked, receipt: parse(text) as Fields }];
  }
  if (operation.operationId !== 'postBatch' || status !== 200) return [];
  const results = (isInLines(sent) ? linesIn(text) : parse(text)) as { status: unknown; body: Fields }[];
  // A body with nothing accepted is not parsed: it may be too deep for this parser, though not for the service's.
  if (!results.some((result) => isAccepted(result.status))) return [];
  const itemAt = itemsIn(sent);
  return results.flatMap((result, place) =>
    isAccepted(result.status) ? [{ asked: itemAt(place), receipt: result.body }] : [],
  );
}

const isAccepted = (status: unknown) => ['200', '201'].includes(String(status));

const isDryRun = ({ target }: Sent) => /[?&]dryRun=true/i.test(target);

/** The transactions that the answer to a command names. */
export function movementsIn({ receipt }: Accepted): Movement[] {
  const { id, legs, newVersion, status } = receipt;
  if (Array.isArray(legs)) return (legs as Fields[]).map((leg) => movementOf(leg['transactionId'], leg));
  if (!String(id).startsWith('hold')) return [movementOf(id, receipt)];
  const isPlaced = newVersion !== undefined && status === 'active';
  return isPlaced ? [movementOf(String(id).replace('hold', 'txn'), { ...receipt, type: 'Hold' })] : [];
}

const movementOf = (id: unknown, { type, amount }: Fields): Movement => ({
  ...{ id: String(id), type: String(type), cents: centsOf(amount) },
});

/** The body, without a byte order mark. */
const textOf = ({ body }: Sent) =>
  Buffer.from(body, 'latin1')
    .toString()
    .replace(/^\ufeff/, '');

const linesOf = (text: string) => text.split('\n').filter((line) => /[^ \t\r]/.test(line));
const linesIn = (text: string): unknown[] => linesOf(text).map((line) => parse(line));

const isInLines = ({ headers }: Sent) =>
  headers.some(([name, value]) => name === 'Content-Type' && LINES.some((type) => value.startsWith(type)));

/** The transactions of a batch, by their places. Of one in lines, others may be malformed. */
function itemsIn(sent: Sent): (place: number) => Fields {
  if (isInLines(sent)) {
    const lines = linesOf(textOf(sent));
    return (place) => parse(lines[place] ?? '') as Fields;
  }
  const batch = parse(textOf(sent)) as Fields | Fields[];
  const items = (Array.isArray(batch) ? batch : batch['transactions']) as Fields[];
  return (place) => items[place] ?? {};
}

/** What was accepted must match its request to the cent. */
function receiptProblems(accepted: Accepted): string[] {
  const { asked } = accepted;
  const amount = asked['amount'] ?? asked['moneyWithdraw/Deposit'];
  const legs = asked['legs'] as Fields[] | undefined;
  const [first, second] = movementsIn(accepted);
  const word = String(asked['type'] ?? asked['typeOfTransaction']).toLowerCase();
  const isPosting = ['deposit', 'credit', 'withdraw', 'debit'].includes(word);
  const type = ['deposit', 'credit'].includes(word) ? 'Deposit' : 'Withdraw';
  const isSame =
    legs === undefined
      ? (amount === undefined || (first ?? second)?.cents === centsOf(amount)) &&
        (!isPosting || first?.type === type)
      : legs.map((leg) => String(centsOf(leg['amount']))).join() ===
        movementsIn(accepted)
          .map(({ cents }) => String(cents))
          .join();
  return isSame ? [] : ['the receipt is of another command'];
}

/** A dry run changes nothing, so it makes nothing. */
function dryRunProblems(sent: Sent, { status }: Answer): string[] {
  return status === 201 && isDryRun(sent) ? ['a dry run is answered 201'] : [];
}

/** The cents of a decimal with at most two places. */
export function centsOf(amount: unknown): bigint {
  const [whole = '', fraction = ''] = String(amount).split('.');
  return BigInt(whole + fraction.padEnd(2, '0'));
}
