import type { BankEvent } from '../messaging/bank-event.js';

/** An event as a text for people. */
export function eventText(event: BankEvent): string {
  return `${event.time}  ${whatHappened(event)}`;
}

function whatHappened(event: BankEvent): string {
  switch (event.type) {
    case 'transaction.posted.v1':
    case 'transaction.posted.v2': {
      const { accountId, version, type, amount, balance } = event.data;
      const held = event.type === 'transaction.posted.v2' ? `, held ${event.data.held}` : '';
      return `account ${accountId}, version ${version}: ${type} ${amount} → ${balance}${held} (${event.id})`;
    }
    case 'transfer.completed.v1': {
      const legs = event.data.legs.map(
        ({ accountId, type, amount }) => `account ${accountId} ${type} ${amount}`,
      );
      return `transfer ${event.id}: ${legs.join(', ')}`;
    }
    case 'transfer.failed.v1': {
      const { accountId, toAccountId, amount } = event.data;
      return `transfer ${event.id} has failed: account ${accountId} keeps ${amount}, account ${toAccountId} gets nothing`;
    }
    case 'submission.refused.v1': {
      const { accountId, idempotencyKey, code } = event.data;
      return `account ${accountId}: submission ${idempotencyKey} refused, ${code}`;
    }
    case 'account.changed.v1': {
      const { accountId, revision, changes } = event.data;
      return `account ${accountId}, revision ${revision}: ${JSON.stringify(changes)}`;
    }
    case 'hold.placed.v1':
    case 'hold.captured.v1':
    case 'hold.voided.v1':
    case 'hold.expired.v1': {
      const { accountId, version, holdId, amount } = event.data;
      // Such as "captured", of hold.captured.v1.
      return `account ${accountId}, version ${version}: ${holdId} ${event.type.split('.')[1]} ${amount}`;
    }
  }
}
