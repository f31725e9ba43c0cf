import { availableOf, type LedgerAccount } from './account.js';
import type { Books } from './books.js';
import { expireDue, type Outcome } from './checks.js';
import type { ChangeCommand, InMinorUnits } from './command.js';
import { Draft } from './draft.js';

export function decideChange(
  command: InMinorUnits<ChangeCommand>,
  account: LedgerAccount,
  books: Books,
): Outcome {
  const { accountId, changes, allowedRevisions, actor } = command;
  if (allowedRevisions && !allowedRevisions.includes(account.revision))
    return { code: 'REVISION_MISMATCH', currentRevision: account.revision };
  const { status = account.status, overdraftLimit = account.overdraftLimit, ...others } = changes;
  if (account.status === 'closed' && (status !== 'closed' || overdraftLimit !== account.overdraftLimit))
    return { code: 'ACCOUNT_CLOSED' };
  const draft = new Draft(books);
  const needsHeld = status === 'closed' || availableOf({ ...account, overdraftLimit }) < 0n;
  if (account.held > 0n && needsHeld) expireDue(draft, accountId, books);
  const { balance, held } = draft.account(accountId);
  if (status === 'closed' && (balance !== 0n || held !== 0n)) return { code: 'ACCOUNT_NOT_EMPTY' };
  if (availableOf({ ...draft.account(accountId), overdraftLimit }) < 0n) return { code: 'OVERDRAFT_IN_USE' };
  const made = {
    ...(status !== account.status && { status }),
    ...(overdraftLimit !== account.overdraftLimit && { overdraftLimit }),
    ...others,
  };
  if (Object.keys(made).length > 0) draft.change(accountId, made, actor);
  return draft.effects;
}
