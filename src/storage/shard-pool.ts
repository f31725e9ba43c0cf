import type { DataSource, QueryRunner } from 'typeorm';
import type { PostgresDataSourceOptions } from 'typeorm/driver/postgres/PostgresDataSourceOptions.js';
import { connect, cutWhenLate, type Work } from './connection.js';
import { DatabaseUnreachableError, sqlStateOf } from './database-errors.js';

/** undefined_table and invalid_schema_name: the errors at the old place of a shard that was moved. */
const GONE = new Set(['42P01', '3F000']);

/** True when the shard's tables are no longer in the database that was asked. */
export function isGone(error: unknown): boolean {
  return GONE.has(sqlStateOf(error) ?? '');
}

/** The counters of pg's pool. */
export interface PoolConnections {
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
}

const NO_CONNECTIONS: PoolConnections = { totalCount: 0, idleCount: 0, waitingCount: 0 };

/** Where a shard is, and how often it was moved to another server. */
export interface ShardLocation {
  /** How often its pools have moved to another server with it. */
  readonly relocations: number;
  /** Set while they are moving. */
  readonly relocating: Promise<unknown> | undefined;
  /** Whether its server is the coordinator of a Citus cluster. */
  readonly onCitus: boolean;
  /** Reconnects the pools to where the shard is now. @returns false when it was not moved */
  relocateIfMoved(): Promise<boolean>;
}

const FIXED: ShardLocation = {
  relocations: 0,
  relocating: undefined,
  onCitus: false,
  relocateIfMoved: () => Promise.resolve(false),
};

/** One pool of connections to a shard, wherever the shard is. */
export class ShardPool {
  constructor(
    readonly dataSource: DataSource,
    private readonly location: ShardLocation = FIXED,
  ) {}

  /** From pg's pool, which TypeORM keeps on its driver; there is none before the shard is open. */
  get connections(): PoolConnections {
    return (this.dataSource.driver as unknown as { master?: PoolConnections }).master ?? NO_CONNECTIONS;
  }

  get onCitus(): boolean {
    return this.location.onCitus;
  }

  /** The most connections it has, and how long to wait for one. */
  get limits(): { readonly size: number; readonly waitMs: number } {
    // Set by dataSourceOptions.
    const { poolSize, connectTimeoutMS } = this.dataSource.options as Required<PostgresDataSourceOptions>;
    return { size: poolSize, waitMs: connectTimeoutMS };
  }

  /** @throws DatabaseUnreachableError while the shard is not open */
  createQueryRunner(): QueryRunner {
    if (!this.dataSource.isInitialized) throw new DatabaseUnreachableError(new Error('the shard is down'));
    return this.dataSource.createQueryRunner();
  }

  /**
   * Runs work on one connection, outside a transaction. The connection is cut at the timeout.
   *
   * @throws DatabaseUnreachableError when there is no connection; any error of the work
   */
  run<T>(timeoutMs: number, work: Work<T>): Promise<T> {
    return this.retryIfRelocated(() => this.runOnce(timeoutMs, work));
  }

  /**
   * Runs work, and runs it once more if it failed because the shard was moved meanwhile. Work that fails must have
   * given its connection back.
   *
   * @throws any error of the work; DatabaseUnreachableError when the shard's new place is not ready
   */
  async retryIfRelocated<T>(work: () => Promise<T>): Promise<T> {
    const { location } = this;
    // A failed relocation is reported to the caller that started it.
    if (location.relocating) await location.relocating.catch(() => undefined);
    const { relocations } = location;
    try {
      return await work();
    } catch (error) {
      const moved =
        isGone(error) && (location.relocations > relocations || (await location.relocateIfMoved()));
      if (!moved) throw error;
      return work();
    }
  }

  private async runOnce<T>(timeoutMs: number, work: Work<T>): Promise<T> {
    const queryRunner = this.createQueryRunner();
    let deadline: NodeJS.Timeout | undefined;
    try {
      const client = await connect(queryRunner);
      deadline = cutWhenLate(client, timeoutMs);
      return await work(queryRunner, client);
    } finally {
      clearTimeout(deadline);
      await queryRunner.release();
    }
  }
}
