import { Inject, Injectable } from '@nestjs/common';
import type { AccountStatus } from '../../domain/account.js';
import type { Config } from '../../config/config.js';
import { CONFIG } from '../../config/config.module.js';
import { currencyOf } from '../../config/currencies.js';
import type { Currency } from '../../domain/currency.js';
import { LedgerError } from '../../domain/errors.js';
import type { Money } from '../../domain/money.js';
import type { ShardRouter } from '../../sharding/shard-router.js';
import { LedgerSummaryEntity, type StoredTotals } from '../../storage/entities/ledger-summary.entity.js';
import { BANK_CURRENCY } from './ledger-reader.js';
import { READERS, type ShardReader } from './shard-reader.js';

/** A shard has not been summed up yet. */
export class SummaryNotReadyError extends Error {}

/** What the accounts of one currency come to. */
export interface CurrencyTotals {
  readonly currency: Currency;
  readonly accounts: Readonly<Record<AccountStatus, number>>;
  readonly balance: Money;
  readonly held: Money;
  /** The part of it that is on its way to accounts of other shards. */
  readonly inFlight: Money;
  readonly credits: Money;
  readonly debits: Money;
}

export interface LedgerSummary {
  /** Everything that was committed by then is in it. */
  readonly asOf: Date;
  /** In the order of their codes. */
  readonly currencies: readonly CurrencyTotals[];
}

interface ShardSummary {
  readonly asOf: Date;
  readonly summary: Readonly<Record<string, StoredTotals>>;
}

/** Reads what was summed up of the whole bank: one row of each shard, whatever the bank holds. */
@Injectable()
export class SummaryReader {
  /** The last that was read of each shard, for as long as it can't be read again. */
  private readonly last = new Map<ShardReader, ShardSummary>();

  constructor(
    @Inject(READERS) private readonly router: ShardRouter<ShardReader>,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  /** @throws SummaryNotReadyError; LedgerError DATABASE_FAILED, OVERLOADED */
  async summary(user: string): Promise<LedgerSummary> {
    const shards = await Promise.all(this.router.shards.map((shard) => this.ofShard(shard, user)));
    const totals = new Map<string, CurrencyTotals>();
    for (const [stored, part] of shards.flatMap(({ summary }) => Object.entries(summary))) {
      const currency = stored === BANK_CURRENCY ? this.config.currency : currencyOf(stored);
      totals.set(currency.code, add(totals.get(currency.code) ?? nothingOf(currency), part));
    }
    const own = this.config.currency;
    if (totals.size === 0) totals.set(own.code, nothingOf(own));
    return {
      asOf: new Date(Math.min(...shards.map(({ asOf }) => asOf.getTime()))),
      currencies: [...totals.values()].sort((a, b) => (a.currency.code < b.currency.code ? -1 : 1)),
    };
  }

  private async ofShard(shard: ShardReader, user: string): Promise<ShardSummary> {
    const read = shard.read((manager) => manager.findOneBy(LedgerSummaryEntity, { onlyRow: true }), user);
    const row = await read.catch((error: unknown) => {
      const last = this.last.get(shard);
      if (error instanceof LedgerError && last) return last;
      throw error;
    });
    if (!row?.asOf || !row.summary) throw new SummaryNotReadyError();
    const found = { asOf: row.asOf, summary: row.summary };
    this.last.set(shard, found);
    return found;
  }
}

const nothingOf = (currency: Currency): CurrencyTotals => ({
  currency,
  accounts: { open: 0, debits_blocked: 0, frozen: 0, closed: 0 },
  ...{ balance: 0n, held: 0n, inFlight: 0n, credits: 0n, debits: 0n },
});

function add(totals: CurrencyTotals, part: StoredTotals): CurrencyTotals {
  const { currency, accounts } = totals;
  const count = (status: AccountStatus) => accounts[status] + (part.accounts[status] ?? 0);
  const sum = (name: 'balance' | 'held' | 'inFlight' | 'credits' | 'debits') =>
    totals[name] + moneyOf(part[name] ?? '0', currency);
  return {
    currency,
    accounts: {
      ...{ open: count('open'), debits_blocked: count('debits_blocked') },
      ...{ frozen: count('frozen'), closed: count('closed') },
    },
    ...{ balance: sum('balance'), held: sum('held'), inFlight: sum('inFlight') },
    ...{ credits: sum('credits'), debits: sum('debits') },
  };
}

/** @param digits ten-thousandths */
const moneyOf = (digits: string, { decimals }: Currency): Money =>
  BigInt(digits) / 10n ** BigInt(4 - decimals);
