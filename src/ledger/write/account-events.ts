import { randomBytes } from 'node:crypto';
import type { AccountChange } from '../../domain/books.js';
import { digestOf, lineOfAccountEvent, nextHash } from '../../domain/hash-chain.js';
import { formatMoney } from '../../domain/money.js';
import type { AccountHead } from './batch-lookups.js';

/** A change of an account as its row in `account_events`. */
export interface AccountEvent {
  readonly eventId: number;
  readonly accountId: number;
  readonly revision: number;
  readonly timestamp: Date;
  readonly actor: string | undefined;
  /** A JSON object of the new values; in place of metadata, a digest of them. */
  readonly changes: string;
  readonly hash: string;
}

/** The changes of a batch, and the details of the accounts afterwards. */
export interface ChangedAccounts {
  readonly events: readonly AccountEvent[];
  /** Only of accounts whose reference or metadata changed. */
  readonly details: ReadonlyMap<number, AccountHead>;
}

/**
 * Chains changes to the earlier ones of their accounts.
 *
 * @param ids of the events, ascending; there may be more than changes
 */
export function chainChanges(
  changes: readonly AccountChange[],
  before: ReadonlyMap<number, AccountHead>,
  ids: readonly number[],
  timestamp: Date,
): ChangedAccounts {
  const heads = new Map(before);
  const details = new Map<number, AccountHead>();
  const events = changes.map(
    ({ accountId, revision, changes: values, actor, decimals }, index): AccountEvent => {
      const head = heads.get(accountId);
      const eventId = ids[index];
      if (!head || eventId === undefined)
        throw new Error(`the change of account ${accountId} was not prepared`);
      const { reference = head.reference, metadata = head.metadata } = values;
      const isNew = values.metadata !== undefined && values.metadata !== null;
      const metadataSalt = isNew
        ? randomBytes(16).toString('hex')
        : metadata === null
          ? null
          : head.metadataSalt;
      const text = JSON.stringify({
        ...values,
        ...(values.overdraftLimit !== undefined && {
          overdraftLimit: formatMoney(values.overdraftLimit, decimals),
        }),
        ...(isNew && {
          metadata: { digest: digestOf(metadataSalt ?? '', { metadata: metadata ?? undefined }) },
        }),
      });
      const event = { eventId, accountId, revision, timestamp, actor, changes: text };
      const hash = nextHash(head.hash, lineOfAccountEvent(event));
      const after = { hash, reference, metadata, metadataSalt };
      heads.set(accountId, after);
      if (values.reference !== undefined || values.metadata !== undefined) details.set(accountId, after);
      return { ...event, hash };
    },
  );
  return { events, details };
}
