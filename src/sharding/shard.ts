import { setTimeout as sleep } from 'node:timers/promises';
import type { DataSource } from 'typeorm';
import { bootstrapShard } from './bootstrap-shards.js';
import { messageOf } from '../domain/error-message.js';
import { isCitus } from '../storage/citus.js';
import { isDirect, MAX_SILENCE_MS, poolExtras, SilenceLimit } from '../storage/connection.js';
import { DatabaseUnreachableError } from '../storage/database-errors.js';
import { ShardIdentityEntity } from '../storage/entities/shard-identity.entity.js';
import { findWeakSettings, NotDurableError } from '../storage/durability.js';
import { ShardMismatchError } from '../storage/migrate.js';
import { describeShard, type ShardAddress } from '../config/shard-address.js';
import { locateShard, type ShardIdentity } from './shard-locator.js';
import { isGone, ShardPool, type ShardLocation } from '../storage/shard-pool.js';

/** How long to wait before trying again to open a shard that is down. */
const REOPEN_MS = 1_000;

export interface ShardLog {
  info(message: string): void;
  warn(message: string): void;
}

export interface ShardSettings {
  /** auto: only over direct connections, where prepared statements outlive a transaction. */
  readonly preparedStatements: boolean | 'auto';
  /** True: fail on a server that may lose committed transactions; false: only warn. */
  readonly requireDurable: boolean;
}

/** A shard's pools, not open yet. */
export interface ShardDataSources {
  readonly ledger: DataSource;
  readonly general: DataSource;
  readonly keys?: DataSource;
}

/**
 * One shard's database and its pools. Readers can never take a connection that a batch writer needs, and a shard in
 * trouble never takes the connections of another. A shard that is down when the service starts is opened as soon as it
 * is up. The pools follow a shard that is moved to another server.
 */
export class Shard implements ShardLocation {
  /** For group commit alone: one connection per batch writer, lock waiter and atomic batch. */
  readonly ledger: ShardPool;
  /** For everything else: reads, opening accounts, the outbox. */
  readonly general: ShardPool;
  /** For API keys only; undefined where none are read. */
  readonly keys: ShardPool | undefined;
  private current: ShardAddress;
  private closed = false;
  private opening = false;
  private pending: Promise<boolean> | undefined;
  private timesRelocated = 0;
  private citus = false;
  private secret: string | undefined;

  constructor(
    private readonly configured: ShardAddress,
    readonly identity: ShardIdentity,
    private readonly dataSources: ShardDataSources,
    private readonly log: ShardLog,
    private readonly settings: ShardSettings,
  ) {
    this.current = configured;
    this.ledger = new ShardPool(dataSources.ledger, this);
    this.general = new ShardPool(dataSources.general, this);
    this.keys = dataSources.keys && new ShardPool(dataSources.keys, this);
  }

  get index(): number {
    return this.identity.index;
  }

  get address(): ShardAddress {
    return this.current;
  }

  /** Signs what concerns its submissions; undefined: the shard has not been open yet. */
  get submissionSecret(): string | undefined {
    return this.secret;
  }

  get relocations(): number {
    return this.timesRelocated;
  }

  get relocating(): Promise<unknown> | undefined {
    return this.pending;
  }

  get onCitus(): boolean {
    return this.citus;
  }

  /**
   * Opens the pools and checks that they lead to this shard, on a server that does not lose what it commits.
   *
   * @throws ShardMismatchError, NotDurableError, connection errors
   */
  async open(): Promise<void> {
    const silence = new SilenceLimit(MAX_SILENCE_MS);
    try {
      const { preparedStatements } = this.settings;
      const prepared = preparedStatements === 'auto' ? await isDirect(this.current.url) : preparedStatements;
      for (const dataSource of this.pools()) {
        dataSource.setOptions({ url: this.current.url, extra: poolExtras(prepared, true, silence) });
        await dataSource.initialize();
        silence.renew();
      }
      const { general } = this.dataSources;
      this.citus = await isCitus(general.query.bind(general));
      await this.checkIdentity();
      await this.checkDurability();
    } catch (error) {
      await this.closePools();
      throw error;
    } finally {
      silence.end();
    }
  }

  /** Opens the shard in the background as soon as its server is up. */
  async openWhenUp(): Promise<void> {
    if (this.opening) return;
    this.opening = true;
    this.log.warn(`shard ${this.index} is down; its accounts can't be served until it is back`);
    for (let problem = ''; !this.closed; await sleep(REOPEN_MS, undefined, { ref: false })) {
      try {
        await this.relocate(await bootstrapShard(this.configured, this.identity));
        this.opening = false;
        return this.log.info(`shard ${this.index} is open`);
      } catch (error) {
        const message = messageOf(error);
        if (message !== problem) this.log.warn(`shard ${this.index} can't be opened yet: ${message}`);
        problem = message;
      }
    }
  }

  /** Ends the attempts to open the shard. Its pools are closed by their module. */
  close(): void {
    this.closed = true;
  }

  /**
   * Callers that arrive while it runs share its result.
   *
   * @throws DatabaseUnreachableError when the shard was moved, but its new place is not ready
   */
  relocateIfMoved(): Promise<boolean> {
    this.pending ??= this.locateAndRelocate().finally(() => (this.pending = undefined));
    return this.pending;
  }

  private async locateAndRelocate(): Promise<boolean> {
    const { address } = await locateShard(this.current).catch((error: unknown) => {
      throw new DatabaseUnreachableError(error);
    });
    if (address.url === this.current.url) return false;
    await this.relocate(address).catch((error: unknown) => {
      // The pools have left the old place, so no query would trigger another attempt.
      void this.openWhenUp();
      throw new DatabaseUnreachableError(error);
    });
    this.log.warn(
      `shard ${this.index} was moved to ${describeShard(address)}: change SHARDS before the next start`,
    );
    return true;
  }

  private async relocate(address: ShardAddress): Promise<void> {
    await this.closePools();
    const moved = address.url !== this.current.url;
    this.current = address;
    await this.open();
    if (moved) this.timesRelocated += 1;
  }

  /** Waits for the connections in use; the work on each has its own deadline. */
  private async closePools(): Promise<void> {
    await Promise.all(this.pools().map(async (pool) => pool.isInitialized && pool.destroy()));
  }

  private pools(): DataSource[] {
    const { ledger, general, keys } = this.dataSources;
    return [ledger, general, ...(keys ? [keys] : [])];
  }

  private async checkIdentity(): Promise<void> {
    const { bankId, index, count } = this.identity;
    const [found] = await this.dataSources.general
      .getRepository(ShardIdentityEntity)
      .find()
      .catch((error: unknown) => {
        if (isGone(error)) return [];
        throw error;
      });
    this.secret = found?.submissionSecret;
    if (found?.bankId === bankId && found.shardIndex === index && found.shardCount === count) return;
    throw new ShardMismatchError(
      `${describeShard(this.current)} is not the shard ${index} of ${count} of bank ${bankId} ` +
        'that the connection for migrations leads to',
    );
  }

  private async checkDurability(): Promise<void> {
    const weak = await findWeakSettings(this.dataSources.general, this.citus);
    if (weak.length === 0) return;
    const message = `the server of ${describeShard(this.current)} does not keep what it commits: ${weak.join('; ')}`;
    if (this.settings.requireDurable)
      throw new NotDurableError(`${message}. NODE_ENV=production needs them on.`);
    this.log.warn(message);
  }
}
