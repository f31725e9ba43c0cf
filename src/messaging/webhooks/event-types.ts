import type { LedgerEvent } from '../../domain/ledger-event.js';

/** What an endpoint can ask for: the types of events without their version. */
export const EVENT_TYPES = [
  'transaction.posted',
  'transfer.completed',
  'transfer.failed',
  'hold.placed',
  'hold.captured',
  'hold.voided',
  'hold.expired',
  'account.changed',
  'submission.refused',
] as const satisfies readonly LedgerEvent['kind'][];

/** Asks for all types, also those of later releases. */
export const ALL_EVENT_TYPES = '*';
