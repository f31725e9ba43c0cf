import type { Answer } from './contract.js';

/** Used until an answer has shown others. */
const FIRST_VERSION = '2';
const FIRST_TRANSACTION = 'txn1';
/** The ids of resources that a Location names. */
const LOCATION = /^\/(transactions|holds|transfers|webhooks)\/(\w+)$/;
const ALL_ACCOUNTS = 'all';

/** What the answers so far have shown of the bank. Requests refer to it with `{{…}}`. */
export class World {
  /** By account. */
  private readonly versions = new Map<string, string>();
  /** By account, or for the listing of all accounts: cursors of listings without filters. */
  private readonly cursors = new Map<string, string>();
  /** By account: cursors of the listing of its deposits. */
  private readonly depositCursors = new Map<string, string>();
  /** By the path of their kind: the newest id. */
  private readonly newest = new Map([['transactions', FIRST_TRANSACTION]]);

  /** Replaces the placeholders in a text for this path. Unknown ones stay unchanged. */
  resolve(path: string, text: string): string {
    if (!text.includes('{{')) return text;
    const account = accountOf(path);
    const cursor = this.cursors.get(account);
    const others = [...this.cursors].filter(([listing]) => listing !== account);
    const known: Readonly<Record<string, string | undefined>> = {
      version: this.versions.get(account) ?? FIRST_VERSION,
      transaction: this.newest.get('transactions'),
      hold: this.newest.get('holds'),
      transfer: this.newest.get('transfers'),
      webhook: this.newest.get('webhooks'),
      cursor,
      depositCursor: this.depositCursors.get(account),
      otherCursor: others.at(-1)?.[1],
      halfCursor: cursor?.slice(0, cursor.length / 2),
    };
    return text.replaceAll(/\{\{(\w+)\}\}/g, (whole, name: string) => known[name] ?? whole);
  }

  learn(path: string, { status, headers, text }: Answer): void {
    const account = accountOf(path);
    const version = /^"(\d+)(?:-string)?"$/.exec(headers['etag'] ?? '')?.[1];
    if (version !== undefined && account !== ALL_ACCOUNTS) this.versions.set(account, version);
    const [, kind, id] = (status === 201 && LOCATION.exec(headers['location'] ?? '')) || [];
    if (kind !== undefined && id !== undefined) this.newest.set(kind, id);
    const cursor = status === 200 && /"nextCursor":"([\w-]+)"/.exec(text)?.[1];
    if (!cursor) return;
    if (!/\/(holds|transfers)\b/.test(path) && this.isOfDeposits(path))
      this.depositCursors.set(account, cursor);
    else if (!/[?&](type|from|to)=|[?&]cursor=|\/(holds|transfers)\b/.test(path))
      this.cursors.set(account, cursor);
  }

  /** A listing of deposits has deposits alone, also where it goes on from a cursor. */
  listingProblems(path: string, { status, text }: Answer): string[] {
    if (status !== 200 || !this.isOfDeposits(path) || !text.includes('"type":"Withdraw"')) return [];
    return ['a listing of deposits has a withdrawal'];
  }

  private isOfDeposits(path: string): boolean {
    const [, query = ''] = path.split('?');
    const { type, cursor, ...others } = Object.fromEntries(new URLSearchParams(query));
    const cursors = [...this.depositCursors.values()];
    if (/^(deposit|credit)$/i.test(type ?? '')) return !('from' in others) && !('to' in others);
    return cursor !== undefined && cursors.includes(cursor);
  }
}

/** The account that a path is about, or whose listing it is. */
function accountOf(path: string): string {
  if (path.startsWith('/webhooks')) return 'webhooks';
  return /^\/accounts\/(\d+)/.exec(path)?.[1] ?? ALL_ACCOUNTS;
}
