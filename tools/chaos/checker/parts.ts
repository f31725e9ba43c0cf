import type { Books, Posting } from './books.js';
import {
  accountsOf,
  isBetweenShards,
  type AnsweredLeg,
  type Capture,
  type Command,
  type ListedRow,
  type Open,
  type Reverse,
  type ReverseTransfer,
  type Transfer,
} from './history.js';
import type { Rule, Violation } from './rules.js';

/** What answers call the types of transactions. */
export const wordFor = (type: string): string =>
  ({ credit: 'Deposit', debit: 'Withdraw', hold: 'Hold', release: 'Release' })[type] ?? type;

/** A transaction that an operation must have made; what is undefined may be anything. */
interface Part {
  readonly accountId: number | undefined;
  readonly type: string;
  readonly amount?: number;
  /** Whether it carries the operation's key. */
  readonly keyed: boolean;
  readonly holdId?: string;
  readonly reverses?: string;
  /** Whether it is a leg of a transfer. */
  readonly inTransfer?: boolean;
}

/**
 * Compares the transactions that an operation has in the books with what it asked for: all parts of it, each once.
 *
 * @returns undefined if they are the same
 */
export function checkParts(
  op: number,
  command: Command | Open,
  postings: readonly Posting[],
  books: Books,
): Violation | undefined {
  const fault = (rule: Rule, what: string): Violation => ({
    rule,
    detail: `operation ${op} (${command.kind}) ${what}: ${JSON.stringify(postings)}`,
  });
  const parts = partsOf(op, command, postings, books);
  const missing = [...postings];
  for (const part of parts) {
    const place = missing.findIndex((posting) => isPart(part, posting, command.key));
    if (place < 0) {
      const isThere = postings.some(
        ({ accountId, type }) => accountId === part.accountId && type === part.type,
      );
      return isThere || postings.length >= parts.length
        ? fault('from-nowhere', `did not ask for this, but ${JSON.stringify(part)}`)
        : fault('half-applied', `lacks ${JSON.stringify(part)}`);
    }
    missing.splice(place, 1);
  }
  if (missing.length > 0) return fault('applied-twice', `has more than its ${parts.length} parts`);
  const transfers = new Set(postings.flatMap(({ transferId }) => transferId ?? []));
  if (transfers.size > 1) return fault('half-applied', 'is in several transfers');
  if (command.kind === 'capture') return captureFault(command, postings, fault);
  return undefined;
}

/** What a capture takes is released first; a final one releases the rest, too. */
function captureFault(
  { final }: Capture,
  postings: readonly Posting[],
  fault: (rule: Rule, what: string) => Violation,
): Violation | undefined {
  const amountOf = (type: string) => postings.find((posting) => posting.type === type)?.amount ?? 0;
  const [released, taken] = [amountOf('release'), amountOf('debit')];
  const isRight = final ? released >= taken : released === taken;
  const arrived = postings.length === 3 ? amountOf('credit') : taken;
  return isRight && arrived === taken
    ? undefined
    : fault('hold-broken', `released ${released}, took ${taken}, brought ${arrived}`);
}

function partsOf(op: number, command: Command | Open, postings: readonly Posting[], books: Books): Part[] {
  if (isBetweenShards(command, books.shards)) return partsBetweenShards(op, command as Sent, postings, books);
  switch (command.kind) {
    case 'open':
      return [{ accountId: postings[0]?.accountId, type: 'credit', amount: op, keyed: false }];
    case 'post':
      return [{ accountId: command.accountId, type: command.type, amount: op, keyed: true }];
    case 'transfer':
      return command.accountIds.map((accountId, place, { length }) => ({
        ...{ accountId, type: place < length / 2 ? 'debit' : 'credit', amount: op },
        ...{ keyed: place === 0, inTransfer: true },
      }));
    case 'hold':
      return [
        {
          ...{ accountId: command.accountId, type: 'hold', amount: op, keyed: true },
          holdId: postings[0]?.id.replace('txn', 'hold'),
        },
      ];
    case 'capture':
      return partsOfCapture(command);
    case 'void':
      return [{ accountId: command.accountId, type: 'release', keyed: true, holdId: command.holdId }];
    case 'reverse':
      return [partOfReversal(command, books)];
    case 'reverse-transfer':
      return partsOfTransferReversal(command, postings, books);
  }
}

/** What may go to another shard. */
type Sent = Transfer | Capture | ReverseTransfer;

/** Of a transfer to another shard: what its steps make, up to the one that it has reached. */
function partsBetweenShards(op: number, command: Sent, postings: readonly Posting[], books: Books): Part[] {
  const [accountId, to] = accountsOf(command);
  const { status = 'pending', holdId = postings[0]?.holdId } = books.sentBy.get(op)?.[0] ?? {};
  const isCapture = command.kind === 'capture';
  const isPart = isCapture || command.kind === 'reverse-transfer';
  const amount = isPart ? (command.amount ?? postings[0]?.amount) : op;
  const taken = isCapture ? command.amount : amount;
  const [reversedDebit, reversedCredit] =
    command.kind === 'reverse-transfer' ? (books.legs.get(command.transferId) ?? []) : [];
  const common = { accountId, amount, keyed: false, holdId, reverses: reversedCredit?.id };
  const hold: Part = { ...common, type: 'hold', keyed: true, inTransfer: true };
  const release: Part = { ...common, type: 'release', amount: isCapture ? undefined : amount };
  const debit: Part = { ...common, type: 'debit', amount: taken, inTransfer: true };
  const credit = {
    accountId: to,
    amount: taken,
    keyed: false,
    reverses: reversedDebit?.id,
    inTransfer: true,
  };
  return [
    ...(isCapture ? [] : [hold]),
    ...(status === 'completed' || (status === 'failed' && !isCapture) ? [release] : []),
    ...(status === 'completed' ? [debit, { ...credit, type: 'credit' }] : []),
  ];
}

function partsOfCapture({ accountId, holdId, amount, to }: Capture): Part[] {
  const inTransfer = to !== undefined;
  return [
    { accountId, type: 'release', keyed: false, holdId },
    { accountId, type: 'debit', amount, keyed: true, holdId, inTransfer },
    ...(inTransfer ? [{ accountId: to, type: 'credit', amount, keyed: false, inTransfer }] : []),
  ];
}

function partOfReversal({ transactionId, accountId, amount }: Reverse, { byId }: Books): Part {
  const type = byId.get(transactionId)?.type === 'credit' ? 'debit' : 'credit';
  return { accountId, type, amount, keyed: true, reverses: transactionId };
}

/** As many of each leg as of the first, because it is reversed in proportion: here all legs are of one amount. */
function partsOfTransferReversal(
  { transferId, accountIds, amount }: ReverseTransfer,
  postings: readonly Posting[],
  books: Books,
): Part[] {
  const legs = books.legs.get(transferId) ?? [];
  return accountIds.map((accountId, place): Part => {
    const leg = legs.find((one) => one.accountId === accountId);
    return {
      ...{ accountId, type: leg?.type === 'credit' ? 'debit' : 'credit' },
      ...{ amount: amount ?? postings[0]?.amount, keyed: place === 0, reverses: leg?.id, inTransfer: true },
    };
  });
}

function isPart(part: Part, posting: Posting, key: string | undefined): boolean {
  return (
    posting.accountId === part.accountId &&
    posting.type === part.type &&
    (part.amount === undefined || posting.amount === part.amount) &&
    posting.key === (part.keyed ? key : undefined) &&
    posting.holdId === part.holdId &&
    posting.reverses === part.reverses &&
    (posting.transferId !== undefined) === (part.inTransfer === true)
  );
}

/** Whether a row in an answer is a row in the books. What it does not say, as of other owners, it can't say wrong. */
export function isSame(row: ListedRow | AnsweredLeg, posting: Posting | undefined): boolean {
  return (
    posting !== undefined &&
    posting.id === row.id &&
    posting.amount === row.amount &&
    wordFor(posting.type) === row.type &&
    (row.balance === undefined || posting.balance === row.balance) &&
    (row.version === undefined || posting.version === row.version) &&
    (row.held === undefined || posting.held === row.held)
  );
}

/** What an applied operation adds to the money in the bank. */
export function netOf(
  op: number,
  { kind, ...command }: Command | Open,
  postings: readonly Posting[],
): number {
  const sum = postings.reduce((total, { type, amount }) => {
    if (type === 'credit') return total + amount;
    return type === 'debit' ? total - amount : total;
  }, 0);
  if (kind === 'open') return op;
  if (kind === 'post') return 'type' in command && command.type === 'debit' ? -op : op;
  const leaves = (kind === 'capture' && !('to' in command)) || kind === 'reverse';
  return leaves ? sum : 0;
}
