import { randomBytes } from 'node:crypto';
import type { PoolClient } from 'pg';
import type { QueryRunner } from 'typeorm';
import { recordActOn, userOfSystem } from '../../audit/audit-log.js';
import type { ShardAddress } from '../../config/shard-address.js';
import type { Effects } from '../../domain/books.js';
import type { Command } from '../../domain/command.js';
import { recordedCode, type Currency } from '../../domain/currency.js';
import { digestOf } from '../../domain/hash-chain.js';
import { formatMoney } from '../../domain/money.js';
import type { TransactionDetails } from '../../domain/transaction.js';
import { BatchStatements } from '../../ledger/write/batch-statements.js';
import { AccountDetailsEntity } from '../../storage/entities/account-details.entity.js';
import { AccountEntity } from '../../storage/entities/account.entity.js';
import type { SchemaTables } from '../../storage/tables.js';
import { CommandError } from '../command-error.js';
import type { Control } from '../control.js';
import { withShardRunners, type ShardRunner } from '../shards.js';
import { storyOf, type Act, type Scene } from './story.js';

export interface StoryReport {
  readonly accounts: number;
  readonly transactions: number;
  /** Card payments and the like that the ledger refused. */
  readonly declined: number;
}

/**
 * Fills an empty bank with a year of history, which ends now. All accounts are in the first shard, so that they can pay
 * one another. The books and the outbox are as if the ledger had been used all along: the same code decides and writes
 * each act, by the story's clock. Each month commits by itself, so that no transaction runs for long; if one fails, the
 * months before it stay.
 *
 * @param seed the same one tells the same story
 * @param currency that of the bank
 * @throws CommandError when the bank has an account
 */
export async function seedAlive(
  addresses: readonly ShardAddress[],
  seed: number,
  currency: Currency,
  { onProgress, signal }: Control = {},
): Promise<StoryReport> {
  return withShardRunners(addresses, 'bank-seed', async (shards) => {
    if (await hasAccounts(shards))
      throw new CommandError('The bank has accounts. Only an empty one can be filled with a history.');
    await recordActOn(addresses, { action: 'bank.seeded_alive', details: { seed } });
    const { runner, tables, dataSource } = shards[0] as ShardRunner;
    const importer = new Importer(tables, currency);
    const scenes = storyOf(seed, new Date());
    let [transactions, declined, told] = [0, 0, 0];
    for (const month of Map.groupBy(scenes, ({ at }) => at.toISOString().slice(0, 7)).values()) {
      signal?.throwIfAborted();
      const report = await runner.run((queryRunner, client) => importer.play(month, queryRunner, client));
      transactions += report.transactions;
      declined += report.declined;
      onProgress?.((told += month.length), scenes.length);
    }
    await dataSource.query(`ANALYZE ${tables.accounts}, ${tables.transactions}`);
    return { accounts: importer.accounts.size, transactions, declined };
  });
}

/** Whether no shard has an account. */
export async function isEmptyBank(addresses: readonly ShardAddress[]): Promise<boolean> {
  return withShardRunners(addresses, 'bank-seed', async (shards) => !(await hasAccounts(shards)));
}

async function hasAccounts(shards: readonly ShardRunner[]): Promise<boolean> {
  for (const { dataSource, tables } of shards) {
    const found = await dataSource.query<unknown[]>(`SELECT FROM ${tables.accounts} LIMIT 1`);
    if (found.length > 0) return true;
  }
  return false;
}

/** An act and what it asks of the ledger. */
interface Performed {
  readonly act: Act;
  readonly command: Command;
}

class Importer {
  readonly accounts = new Map<string, number>();
  private readonly statements: BatchStatements;
  private now = new Date(0);
  /** What placing or capturing a hold did; nothing if it was refused. */
  private readonly done = new Map<string, Effects>();

  constructor(
    tables: SchemaTables,
    private readonly currency: Currency,
  ) {
    this.statements = new BatchStatements(tables, () => this.now);
  }

  /** Plays scenes in the caller's transaction; again, if that is rolled back. */
  async play(
    scenes: readonly Scene[],
    queryRunner: QueryRunner,
    client: PoolClient,
  ): Promise<Omit<StoryReport, 'accounts'>> {
    let [transactions, declined] = [0, 0];
    let writing: Promise<unknown> | undefined;
    for (const acts of Map.groupBy(scenes, ({ at }) => at.getTime()).values()) {
      this.now = (acts[0] as Scene).at;
      for (const { act } of acts) if (act.kind === 'open') await this.open(act, queryRunner);
      const performed = acts.flatMap(({ act }) => this.commandsOf(act));
      const commands = performed.map(({ command }) => command);
      if (commands.length === 0) continue;
      // The next batch is sent without waiting for the answer to the last one.
      const deciding = this.statements.lockAndDecide(queryRunner, client, commands, 'wait');
      const [posted] = await Promise.all([deciding, writing]);
      writing = this.statements.write(client, posted);
      transactions += posted.transactions.length;
      for (const [index, decision] of posted.decisions.entries()) {
        const { act } = performed[index] as Performed;
        if (!decision?.accepted) declined += 1;
        else if ('hold' in act) this.done.set(`${act.kind} ${act.hold}`, decision.effects);
      }
    }
    await writing;
    return { transactions, declined };
  }

  private async open(
    { account, owner, holder }: Extract<Act, { kind: 'open' }>,
    { manager }: QueryRunner,
  ): Promise<void> {
    const balance = formatMoney(0n, this.currency.decimals);
    const currency = recordedCode(this.currency, this.currency);
    const row = { balance, status: 'open', owner: owner ?? null, createdAt: this.now, currency } as const;
    const inserted = await manager.insert(AccountEntity, row);
    const [{ account_id }] = inserted.raw as [{ account_id: string }];
    const accountId = Number(account_id);
    const metadata = JSON.stringify({ holder });
    await manager.insert(AccountDetailsEntity, {
      ...{ accountId, reference: account, metadata, metadataSalt: randomBytes(16) },
    });
    this.accounts.set(account, accountId);
  }

  /** None: it builds on something that was refused. */
  private commandsOf(act: Act): Performed[] {
    const command = act.kind === 'open' ? undefined : this.commandOf(act);
    return command ? [{ act, command }] : [];
  }

  private commandOf(act: Exclude<Act, { kind: 'open' }>): Command | undefined {
    switch (act.kind) {
      case 'change':
        return {
          type: 'change',
          accountId: this.idOf(act.account),
          changes: act.changes,
          actor: userOfSystem(),
        };
      case 'expiry':
        return { type: 'expiry', accountId: this.idOf(act.account) };
      case 'post':
        return {
          type: act.type,
          accountId: this.idOf(act.account),
          amount: act.amount,
          details: detailsOf(act),
        };
      case 'transfer': {
        const [accountId, to] = [this.idOf(act.from), this.idOf(act.to)];
        const { amount } = act;
        const legs = [
          { accountId, type: 'debit', amount },
          { accountId: to, type: 'credit', amount },
        ] as const;
        return { type: 'transfer', accountId, legs, details: detailsOf(act) };
      }
      case 'hold': {
        const { amount, expiresAt } = act;
        return {
          type: 'hold',
          accountId: this.idOf(act.account),
          amount,
          expiresAt,
          details: detailsOf(act),
        };
      }
      case 'capture':
      case 'void': {
        const hold = this.done.get(`hold ${act.hold}`)?.holds.at(-1);
        if (!hold) return undefined;
        const { accountId, holdId } = hold;
        if (act.kind === 'void') return { type: 'void', accountId, holdId };
        const to = { accountId: this.idOf(act.to) };
        return {
          type: 'capture',
          accountId,
          holdId,
          amount: act.amount,
          final: true,
          to,
          details: detailsOf(act),
        };
      }
      case 'refund': {
        const captured = this.done.get(`capture ${act.hold}`)?.transactions ?? [];
        const payee = captured.find(({ type }) => type === 'credit');
        const payer = captured.find(({ type }) => type === 'debit');
        if (payee?.transferId === undefined || !payer) return undefined;
        const accountIds = [payer.accountId, payee.accountId];
        const { transferId, accountId } = payee;
        return { type: 'transfer-reversal', accountId, transferId, accountIds, amount: act.amount };
      }
    }
  }

  private idOf(account: string): number {
    const id = this.accounts.get(account);
    if (id === undefined) throw new Error(`the story never opens ${account}`);
    return id;
  }
}

function detailsOf({
  description,
  reference,
}: {
  description: string;
  reference?: string;
}): TransactionDetails {
  const salt = randomBytes(16).toString('hex');
  return { description, reference, salt, digest: digestOf(salt, { description }) };
}
