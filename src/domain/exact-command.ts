import type { LedgerAccount } from './account.js';
import type { Books } from './books.js';
import { firstAbout } from './checks.js';
import type { Asked, Command, IncomingCommand, InMinorUnits, Leg, TransferCommand } from './command.js';
import type { Rejection } from './errors.js';
import { inMinorUnits, MAX_DECIMALS, type Money } from './money.js';

/** What an incoming transfer asks for is in minor units already. */
export type InexactCommand = Exclude<Command, IncomingCommand>;
export type ExactCommand = InMinorUnits<InexactCommand>;

/** The command with its amounts in minor units of the currencies of their accounts, or why they can't be. */
export function exactCommand(
  command: InexactCommand,
  account: LedgerAccount,
  books: Books,
): ExactCommand | Rejection {
  switch (command.type) {
    case 'credit':
    case 'debit':
    case 'hold': {
      const amount = inMinorUnits(command.amount, account.decimals);
      if (amount === undefined) return tooManyDecimals(account, amountNameOf(command));
      return { ...command, amount };
    }
    case 'outgoing':
    case 'capture':
    case 'reversal':
    case 'transfer-reversal': {
      if (command.amount === undefined) return command as ExactCommand;
      const amount = inMinorUnits(command.amount, account.decimals);
      return amount === undefined ? tooManyDecimals(account, amountNameOf(command)) : { ...command, amount };
    }
    case 'change': {
      const { overdraftLimit: asked } = command.changes;
      if (asked === undefined) return command as ExactCommand;
      const overdraftLimit = inMinorUnits(asked, account.decimals);
      if (overdraftLimit === undefined) return tooManyDecimals(account, 'overdraftLimit');
      return { ...command, changes: { ...command.changes, overdraftLimit } };
    }
    case 'transfer':
      return exactTransfer(command, books);
    case 'void':
    case 'expiry':
    case 'refusal':
    case 'settlement':
      return command;
  }
}

const amountNameOf = (command: object & { readonly amountName?: string }) => command.amountName ?? 'amount';

const tooManyDecimals = ({ decimals }: LedgerAccount, field: string): Rejection => ({
  code: 'TOO_MANY_DECIMALS',
  field,
  decimals,
});

function exactTransfer(command: TransferCommand, books: Books): InMinorUnits<TransferCommand> | Rejection {
  const { legs } = command;
  const missing = legs.find(({ accountId }) => !books.accounts.has(accountId));
  if (missing) return { code: 'ACCOUNT_NOT_FOUND', accountId: missing.accountId };
  const accountOf = ({ accountId }: Leg) => books.accounts.get(accountId) as LedgerAccount;
  const amountOf = (leg: Leg) => inMinorUnits(leg.amount, accountOf(leg).decimals);
  const problem =
    checkBalance(legs, accountOf) ??
    firstAbout(legs, (leg) =>
      amountOf(leg) === undefined ? tooManyDecimals(accountOf(leg), amountNameOf(leg)) : undefined,
    );
  return problem ?? { ...command, legs: legs.map((leg) => ({ ...leg, amount: amountOf(leg) ?? 0n })) };
}

/**
 * Debits and credits are equal in each currency: nothing is converted silently. Money leaves only accounts that the
 * sender may see, so where these have one currency, a transfer of unequal sums is wrong whatever the others have.
 */
function checkBalance(legs: readonly Leg[], accountOf: (leg: Leg) => LedgerAccount): Rejection | undefined {
  const sums = new Map<string | undefined, Money>();
  for (const leg of legs) {
    const { currency, decimals } = accountOf(leg);
    const amount = comparable(leg.amount, decimals);
    sums.set(currency, (sums.get(currency) ?? 0n) + (leg.type === 'debit' ? amount : -amount));
  }
  if ([...sums.values()].every((sum) => sum === 0n)) return undefined;
  const known = new Set(legs.filter(({ foreign }) => foreign !== true).map((leg) => accountOf(leg).currency));
  const total = [...sums.values()].reduce((sum, each) => sum + each, 0n);
  if (known.size === 1 && total !== 0n) return { code: 'LEGS_UNBALANCED' };
  const foreign = legs.find((leg) => leg.foreign);
  return foreign
    ? { code: 'COUNTERPARTY_REFUSED', accountId: foreign.accountId }
    : { code: 'CURRENCY_MISMATCH' };
}

/** An amount in the smallest unit of any currency. */
const comparable = (amount: Asked, decimals: number): Money =>
  typeof amount === 'bigint'
    ? (inMinorUnits({ units: amount, decimals }, MAX_DECIMALS) as Money)
    : (inMinorUnits(amount, MAX_DECIMALS) as Money);
