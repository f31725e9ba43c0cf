import {
  decimal,
  isCommand,
  referenceOf,
  type AnswerBody,
  type AnsweredLeg,
  type Command,
  type Follow,
  type HistoryWriter,
  type ListedRow,
  type Open,
  type Operation,
  type ReadBalance,
  type Transfer,
} from './checker/history.js';
import { NoAnswerError, parseAnswer, send } from './http-client.js';
import type { Instance } from './instances.js';
import type { Sender } from './senders.js';

/** An answer as the workload sees it. */
export interface CallAnswer extends AnswerBody {
  /** As in the history: 0 when no answer came, -1 when the request was never sent. */
  readonly status: number;
}

const PAGE = 20;
const PAGES = 2;

/** Sends the requests of operations. Writes each one to the history before it is sent, and its answer afterwards. */
export class Caller {
  /** Operation → the sender of its batch. */
  private readonly ofBatches = new Map<number, Sender>();
  private operations = 0;
  private attempts = 0;

  constructor(
    private readonly history: HistoryWriter,
    private readonly senders: readonly Sender[],
  ) {}

  /** Gives an operation a number and writes it to the history. The number is also the amount of most. */
  intend(operation: Operation): number {
    const op = ++this.operations;
    this.history.append({ entry: 'intent', op, operation });
    return op;
  }

  async attempt(
    op: number,
    operation: Operation,
    instance: Instance,
    timeoutMs: number,
    async?: true,
  ): Promise<CallAnswer> {
    const attempt = ++this.attempts;
    const sender = this.senderOf(op, operation);
    const { name, owner } = sender;
    const sent = { instance: instance.label, sender: name, owner, async };
    this.history.append({ entry: 'attempt', op, attempt, ...sent });
    try {
      const call = { url: instance.url, timeoutMs, sender, async };
      const { status, retryAfter, ...body } = await this.call(op, operation, call);
      this.history.append({ entry: 'answer', op, attempt, status, body, retryAfter });
      return { status, ...body };
    } catch (error) {
      if (!(error instanceof NoAnswerError)) throw error;
      const status = error.neverSent ? -1 : 0;
      this.history.append({ entry: 'answer', op, attempt, status });
      return { status };
    }
  }

  /** Sends commands of one shard together, in their order; if atomic, all or none is to be applied. @returns their answers */
  async attemptBatch(
    items: readonly Numbered[],
    instance: Instance,
    timeoutMs: number,
    atomic?: true,
  ): Promise<CallAnswer[]> {
    const commands = items.map(({ command }) => command);
    const sender = this.senderOf(items[0]?.op ?? 0, commands.find(isForced) ?? (commands[0] as Command));
    for (const { op } of items) this.ofBatches.set(op, sender);
    const batch = this.attempts + 1;
    for (const { op } of items) {
      const attempt = ++this.attempts;
      this.history.append({
        entry: 'attempt',
        op,
        attempt,
        instance: instance.label,
        sender: sender.name,
        owner: sender.owner,
        batch,
        atomic,
      });
    }
    const url = `${instance.url}/transactions/batch${atomic ? '?atomic=true' : ''}`;
    const answers = await this.batch(items, { url, timeoutMs, sender });
    return answers.map(({ status, retryAfter, ...body }, place) => {
      const { op } = items[place] as Numbered;
      this.history.append({ entry: 'answer', op, attempt: batch + place, status, body, retryAfter });
      return { status, ...body };
    });
  }

  private async batch(items: readonly Numbered[], call: Call): Promise<Answered[]> {
    const { url, timeoutMs, sender } = call;
    const body = JSON.stringify(items.map(({ op, command }) => itemOf(op, command)));
    const toAll = (answer: Answered) => items.map(() => answer);
    try {
      const answer = await send('POST', url, { timeoutMs, headers: sender.headers, body });
      const read = parseAnswer(answer.text) as { status: number; body: Fields }[] | Fields;
      if (!Array.isArray(read)) return toAll(answered(answer.status, read, 'retry-after' in answer.headers));
      // Results have no headers.
      return read.map((result) => answered(result.status, result.body, true));
    } catch (error) {
      if (!(error instanceof NoAnswerError)) throw error;
      return toAll({ status: error.neverSent ? -1 : 0, retryAfter: false });
    }
  }

  /**
   * All requests of an operation come from one sender. One who is bound to an owner can't manage accounts, and the
   * operator does only what nobody else may. Who has submitted asks what became of it.
   */
  private senderOf(op: number, operation: Operation): Sender {
    if (operation.kind === 'follow') return this.senderOf(operation.of, operation.submitted);
    const before = this.ofBatches.get(op);
    if (before) return before;
    const able = this.senders.filter(
      ({ opensFor, mayForce }) =>
        mayForce === isForced(operation) && (!isOfTheBank(operation) || opensFor !== undefined),
    );
    return able[op % able.length] as Sender;
  }

  private call(op: number, operation: Operation, call: Call): Promise<Answered> {
    if (operation.kind === 'open' || isCommand(operation)) {
      const { path, body, ifMatch } = requestOf(op, operation, call.sender);
      const headers = {
        ...keyHeader(operation.key),
        ...(ifMatch !== undefined && { 'if-match': ifMatch }),
        ...(call.async && { prefer: 'respond-async' }),
      };
      return this.one('POST', at(call, path), headers, JSON.stringify(body));
    }
    switch (operation.kind) {
      case 'balance':
        return this.balance(operation, call);
      case 'list':
        return this.list(at(call, `/accounts/${operation.accountId}/transactions?limit=${PAGE}`));
      case 'follow':
        return this.follow(operation, call);
      case 'read-hold':
        return this.one('GET', at(call, `/holds/${operation.holdId}`), {});
      case 'read-transfer':
        return this.one('GET', at(call, `/transfers/${operation.transferId}`), {});
      case 'change': {
        const { accountId, status, overdraftLimit, ifRevision } = operation;
        const body = {
          status,
          overdraftLimit: overdraftLimit === undefined ? undefined : decimal(overdraftLimit),
        };
        // Only the second number of the tag counts.
        const headers: Record<string, string> =
          ifRevision === undefined ? {} : { 'if-match': `"1.${ifRevision}"` };
        return this.one('PATCH', at(call, `/accounts/${accountId}`), headers, JSON.stringify(body));
      }
    }
  }

  private balance({ accountId, minVersion, noCache }: ReadBalance, call: Call): Promise<Answered> {
    const query = minVersion === undefined ? '' : `?minVersion=${minVersion}`;
    const headers: Record<string, string> = noCache ? { 'cache-control': 'no-cache' } : {};
    return this.one('GET', at(call, `/accounts/${accountId}/balance${query}`), headers);
  }

  private async one(
    method: 'GET' | 'POST' | 'PATCH',
    { url, timeoutMs, sender }: Call,
    more: Readonly<Record<string, string>>,
    body?: string,
  ): Promise<Answered> {
    const { status, headers, text } = await send(method, url, {
      ...{ timeoutMs, headers: { ...sender.headers, ...more }, body },
    });
    const read = parseAnswer(text) as Fields;
    if (status === 202 && !('legs' in read)) return submissionAt(String(headers['location']), read);
    const revision = /^"\d+\.(\d+)"$/.exec(String(headers['etag']))?.[1];
    return {
      ...answered(status, read, 'retry-after' in headers),
      revision: revision === undefined ? undefined : Number(revision),
    };
  }

  private async follow({ submissionId }: Follow, { url, timeoutMs, sender }: Call): Promise<Answered> {
    const { status, headers, text } = await send('GET', `${url}/submissions/${submissionId}`, {
      ...{ timeoutMs, headers: sender.headers },
    });
    const read = parseAnswer(text) as Fields;
    const retryAfter = 'retry-after' in headers;
    return status === 200 ? becomeOf(read as unknown as Followed) : answered(status, read, retryAfter);
  }

  private async list({ url: firstPage, timeoutMs, sender }: Call): Promise<Answered> {
    const rows: ListedRow[] = [];
    let cursor: string | null = '';
    for (let page = 0; page < PAGES && cursor !== null; page++) {
      const url = cursor === '' ? firstPage : `${firstPage}&cursor=${encodeURIComponent(cursor)}`;
      const { status, headers, text } = await send('GET', url, { timeoutMs, headers: sender.headers });
      const read = parseAnswer(text) as { data?: Listed[]; nextCursor?: string | null; error?: string };
      if (status !== 200)
        return { status, error: read.error, retryAfter: headers['retry-after'] !== undefined };
      rows.push(...(read.data ?? []).map(rowOf));
      cursor = read.nextCursor ?? null;
    }
    return { status: 200, retryAfter: false, rows };
  }
}

/** Where a request goes, how long to wait for its answer, and who sends it. */
interface Call {
  readonly url: string;
  readonly timeoutMs: number;
  readonly sender: Sender;
  /** Whether it is to be answered before it is decided. */
  readonly async?: true;
}

interface Answered extends AnswerBody {
  readonly status: number;
  readonly retryAfter: boolean;
}

/** A command and the number of its operation. */
export interface Numbered {
  readonly op: number;
  readonly command: Command;
}

type Fields = Readonly<Record<string, unknown>>;

const answered = (status: number, read: Fields, retryAfter: boolean): Answered => ({
  ...{ status, retryAfter },
  ...bodyOf(read),
});

function bodyOf(read: Fields): AnswerBody {
  const version = read['version'] ?? read['newVersion'];
  return {
    ...pick(read, MEMBERS),
    members: read['error'] === 'Counterparty refused' ? Object.keys(read) : undefined,
    ...('legs' in read
      ? { transferStatus: read['status'] as string | undefined }
      : { holdStatus: (read['holdStatus'] ?? read['status']) as string | undefined }),
    legs: (read['legs'] as Listed[] | undefined)?.map(legOf),
    balance: (read['balance'] ?? read['newBalance']) as number | undefined,
    version: version === undefined ? undefined : Number(version),
    currentVersion: read['CurrentVersion'] as number | null | undefined,
  };
}

/** An acceptance: its id is the one that its Location names. */
function submissionAt(location: string, { status: submission }: Fields): Answered {
  const [, id] = /^\/submissions\/(.+)$/.exec(location) ?? [];
  return { status: 202, retryAfter: false, id, submission: submission as AnswerBody['submission'] };
}

/** A submission: what it made, or why it was refused. */
interface Followed {
  readonly status: AnswerBody['submission'];
  readonly transaction?: Fields;
  readonly transfer?: Fields;
  readonly hold?: Fields;
  readonly refusal?: { readonly status: number; readonly body: Fields };
}

function becomeOf({ status, transaction, transfer, hold, refusal }: Followed): Answered {
  const made = bodyOf(transaction ?? transfer ?? hold ?? {});
  const refused = refusal && { status: refusal.status, body: bodyOf(refusal.body) };
  return { status: 200, retryAfter: false, ...made, submission: status, refusal: refused };
}

/** A row of a listing, or a leg of a transfer. */
interface Listed {
  readonly id: string;
  readonly transactionId: string | null;
  readonly accountId: number;
  readonly type: string;
  readonly amount: number;
  readonly newBalance?: number;
  readonly newVersion?: string;
  readonly newHeld?: number;
}

/** The answer does not tell the balance and the version of an account that its sender may not see. */
const rowOf = ({ id, type, amount, newBalance, newVersion, newHeld }: Listed): ListedRow => ({
  ...{ id, type, amount, balance: newBalance, held: newHeld },
  version: newVersion === undefined ? undefined : Number(newVersion),
});

const legOf = (leg: Listed): AnsweredLeg => ({
  ...{ ...rowOf(leg), id: leg.transactionId ?? undefined },
  accountId: leg.accountId,
});

/** The members of answers that go into the history as they are. */
const MEMBERS = [
  ...['error', 'id', 'transactionId', 'transferId', 'holdId', 'accountId', 'type', 'amount'],
  ...['remaining', 'captured', 'held', 'currentRevision', 'failure'],
];

const at = (call: Call, path: string): Call => ({ ...call, url: `${call.url}${path}` });

interface PostRequest {
  readonly path: string;
  readonly body: object;
  readonly ifMatch?: string;
}

/** The request of an opening or a command. */
function requestOf(op: number, operation: Open | Command, sender?: Sender): PostRequest {
  const amount = decimal(op);
  const reference = referenceOf(op);
  switch (operation.kind) {
    case 'open':
      return {
        path: '/accounts',
        body: { openingDeposit: amount, owner: operation.owner ?? sender?.opensFor },
      };
    case 'post': {
      const { accountId, type, expectedVersion, ifMatch, dryRun } = operation;
      return {
        path: `/accounts/${accountId}/transactions${dryRun ? DRY_RUN : ''}`,
        body: {
          'moneyWithdraw/Deposit': amount,
          typeOfTransaction: wordOf(type),
          ...(!ifMatch && { expectedversion: expectedVersion }),
        },
        ifMatch: ifMatch ? `"${expectedVersion}"` : undefined,
      };
    }
    case 'transfer':
      return {
        path: `/transfers${operation.dryRun ? DRY_RUN : ''}`,
        body: { ...transferBody(amount, operation), reference },
      };
    case 'hold': {
      const { accountId, expectedVersion, expiresInSeconds } = operation;
      return {
        path: `/accounts/${accountId}/holds`,
        body: { amount, expectedVersion, expiresInSeconds, reference },
      };
    }
    case 'capture': {
      const { holdId, final, to } = operation;
      return { path: `/holds/${holdId}/capture`, body: { amount: part(operation), final, to, reference } };
    }
    case 'void':
      return { path: `/holds/${operation.holdId}/void`, body: { reference } };
    case 'reverse': {
      const path = `/transactions/${operation.transactionId}/reversal`;
      return { path, body: { amount: part(operation), force: operation.force, reference } };
    }
    case 'reverse-transfer': {
      const path = `/transfers/${operation.transferId}/reversal`;
      return { path, body: { amount: part(operation), force: operation.force, reference } };
    }
  }
}

/** A command as an item of a batch. */
function itemOf(op: number, command: Command): object {
  const { body } = requestOf(op, command);
  const own = { ...body, idempotencyKey: command.key };
  switch (command.kind) {
    case 'post':
      return { ...own, accountId: command.accountId };
    case 'transfer':
      return { ...own, type: 'Transfer' };
    case 'hold':
      return { ...own, type: 'Hold', accountId: command.accountId };
    case 'capture':
      return { ...own, type: 'Capture', holdId: command.holdId };
    case 'void':
      return { ...own, type: 'Void', holdId: command.holdId };
    case 'reverse':
      return { ...own, type: 'Reversal', transactionId: command.transactionId };
    case 'reverse-transfer':
      return { ...own, type: 'Reversal', transferId: command.transferId };
  }
}

/** Whether one who is bound to an owner may not do it. */
const isOfTheBank = (operation: Operation) =>
  operation.kind === 'change' || (operation.kind === 'open' && operation.owner !== undefined);

const isForced = (operation: Operation) => 'force' in operation && operation.force === true;

const DRY_RUN = '?dryRun=true';

const part = ({ amount }: { readonly amount?: number }) =>
  amount === undefined ? undefined : decimal(amount);

function transferBody(amount: string, { accountIds, expectedVersion, asLegs }: Transfer): object {
  const [from, to] = accountIds;
  if (!asLegs) return { from, to, amount, expectedVersion };
  const legs = accountIds.map((accountId, place) => ({
    accountId,
    type: wordOf(place < accountIds.length / 2 ? 'debit' : 'credit'),
    amount,
    ...(place === 0 && { expectedVersion }),
  }));
  return { legs };
}

const wordOf = (type: 'credit' | 'debit') => (type === 'credit' ? 'Deposit' : 'Withdraw');

const keyHeader = (key: string | undefined): Record<string, string> =>
  key === undefined ? {} : { 'idempotency-key': key };

function pick(from: Readonly<Record<string, unknown>>, names: readonly string[]): Record<string, never> {
  return Object.fromEntries(names.filter((name) => name in from).map((name) => [name, from[name]])) as never;
}
