import type { DataSource, QueryRunner } from 'typeorm';
import type { PostgresDataSourceOptions } from 'typeorm/driver/postgres/PostgresDataSourceOptions.js';
import { DatabaseUnreachableError, sqlStateOf } from './database-errors.js';

/** undefined_table and invalid_schema_name: what a shard that was moved answers at its old place. */
const GONE = new Set(['42P01', '3F000']);

/** The shard's tables are not where they were looked for. */
export function isGone(error: unknown): boolean {
  return GONE.has(sqlStateOf(error) ?? '');
}

/** What pg's pool tells of its connections. */
export interface PoolConnections {
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
}

export const NO_CONNECTIONS: PoolConnections = { totalCount: 0, idleCount: 0, waitingCount: 0 };

/** Where a shard is, and whether it has been moved since. */
export interface ShardPlace {
  /** How often it was moved, as far as this process knows. */
  readonly moves: number;
  /** While the pools are being led to a new place. */
  readonly moving: Promise<unknown> | undefined;
  /** Whether its server is the coordinator of a Citus cluster. */
  readonly onCitus: boolean;
  /** Looks for the new place and goes there; false: the shard is where it was. */
  follow(): Promise<boolean>;
}

const FIXED: ShardPlace = {
  moves: 0,
  moving: undefined,
  onCitus: false,
  follow: () => Promise.resolve(false),
};

/** One pool of connections to a shard, wherever the shard is. */
export class ShardPool {
  constructor(
    readonly dataSource: DataSource,
    private readonly place: ShardPlace = FIXED,
  ) {}

  /** TypeORM keeps pg's pool on its driver; there is none before the shard is open. */
  get connections(): PoolConnections {
    return (this.dataSource.driver as unknown as { master?: PoolConnections }).master ?? NO_CONNECTIONS;
  }

  get onCitus(): boolean {
    return this.place.onCitus;
  }

  /** How many connections it has at most, and how long to wait for one. */
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
   * Does work that holds no connection when it fails; once more when it failed because the shard was moved meanwhile.
   *
   * @throws what the work fails with; DatabaseUnreachableError when the shard's new place is not ready
   */
  async retryIfRelocated<T>(work: () => Promise<T>): Promise<T> {
    // How going there ends is told to whoever set it off.
    if (this.place.moving) await this.place.moving.catch(() => undefined);
    const { moves } = this.place;
    try {
      return await work();
    } catch (error) {
      const moved = isGone(error) && (this.place.moves > moves || (await this.place.follow()));
      if (!moved) throw error;
      return work();
    }
  }
}
