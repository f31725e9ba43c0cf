import { DataSource, type DataSourceOptions } from 'typeorm';
import { BalanceHistory1795478600000 } from '../../migrations/1795478600000-balance-history.js';
import { OutboxAndShardIdentity1795478700000 } from '../../migrations/1795478700000-outbox-and-shard-identity.js';
import { RelayLease1795478800000 } from '../../migrations/1795478800000-relay-lease.js';
import { SpecTables1795478400000 } from '../../migrations/1795478400000-spec-tables.js';
import { WideTypes1795478500000 } from '../../migrations/1795478500000-wide-types.js';
import { Archive1795478900000 } from '../../migrations/1795478900000-archive.js';
import { CredentialsAndAudit1795479000000 } from '../../migrations/1795479000000-credentials-and-audit.js';
import { OpeningsAndRevisions1795479100000 } from '../../migrations/1795479100000-openings-and-revisions.js';
import { KeyScopesVersion1795479200000 } from '../../migrations/1795479200000-key-scopes-version.js';
import { WholeLedger1795479300000 } from '../../migrations/1795479300000-whole-ledger.js';
import { AccountReferences1795479410000 } from '../../migrations/1795479410000-account-references.js';
import { Currency1795479420000 } from '../../migrations/1795479420000-currency.js';
import { Submissions1795479430000 } from '../../migrations/1795479430000-submissions.js';
import { LedgerSummary1795479440000 } from '../../migrations/1795479440000-ledger-summary.js';
import { ListingIndexes1795479450000 } from '../../migrations/1795479450000-listing-indexes.js';
import { BetweenShards1795479460000 } from '../../migrations/1795479460000-between-shards.js';
import { EventLog1795479470000 } from '../../migrations/1795479470000-event-log.js';
import { Webhooks1795479480000 } from '../../migrations/1795479480000-webhooks.js';
import { poolExtras, type SilenceLimit } from './connection.js';
import { AccountEntity } from './entities/account.entity.js';
import { AccountDetailsEntity } from './entities/account-details.entity.js';
import { AccountEventEntity } from './entities/account-event.entity.js';
import { AccountOpeningEntity } from './entities/account-opening.entity.js';
import { ApiKeyEntity } from './entities/api-key.entity.js';
import { ArchivedTransactionEntity } from './entities/archived-transaction.entity.js';
import { AuditEventEntity } from './entities/audit-event.entity.js';
import { EventCursorEntity } from './entities/event-cursor.entity.js';
import { EventLogEntity } from './entities/event-log.entity.js';
import { HoldEntity } from './entities/hold.entity.js';
import { IncomingTransferEntity } from './entities/incoming-transfer.entity.js';
import { LedgerSummaryEntity } from './entities/ledger-summary.entity.js';
import { OutboxEntity } from './entities/outbox.entity.js';
import { RefusedSubmissionEntity } from './entities/refused-submission.entity.js';
import { ShardIdentityEntity } from './entities/shard-identity.entity.js';
import { TransactionDetailsEntity } from './entities/transaction-details.entity.js';
import { TransactionEntity } from './entities/transaction.entity.js';
import { TransferEntity } from './entities/transfer.entity.js';
import { WebhookEntity } from './entities/webhook.entity.js';
import type { ShardAddress } from '../config/shard-address.js';

export interface PoolSettings {
  /** The application_name in the server's pg_stat_activity. */
  readonly name: string;
  /** The most connections. */
  readonly size: number;
  /** How long to wait for a connection, pooled or new. */
  readonly connectTimeoutMs: number;
  /** Whether statements are prepared once per connection. */
  readonly preparedStatements?: boolean;
  /** False for connections that use COPY; see {@link poolExtras}. */
  readonly pipeline?: boolean;
  /** Watches the connections. */
  readonly silence?: SilenceLimit;
}

/** Oldest first. A released migration is never edited; each change of the schema is a new one. */
export const MIGRATIONS = [
  SpecTables1795478400000,
  WideTypes1795478500000,
  BalanceHistory1795478600000,
  OutboxAndShardIdentity1795478700000,
  RelayLease1795478800000,
  Archive1795478900000,
  CredentialsAndAudit1795479000000,
  OpeningsAndRevisions1795479100000,
  KeyScopesVersion1795479200000,
  WholeLedger1795479300000,
  AccountReferences1795479410000,
  Currency1795479420000,
  Submissions1795479430000,
  LedgerSummary1795479440000,
  ListingIndexes1795479450000,
  BetweenShards1795479460000,
  EventLog1795479470000,
  Webhooks1795479480000,
];

export function dataSourceOptions(shard: ShardAddress, pool: PoolSettings): DataSourceOptions {
  return {
    type: 'postgres',
    url: shard.url,
    schema: shard.schema,
    entities: [
      AccountEntity,
      AccountOpeningEntity,
      TransactionEntity,
      ArchivedTransactionEntity,
      TransactionDetailsEntity,
      HoldEntity,
      TransferEntity,
      IncomingTransferEntity,
      AccountDetailsEntity,
      AccountEventEntity,
      LedgerSummaryEntity,
      RefusedSubmissionEntity,
      EventCursorEntity,
      EventLogEntity,
      OutboxEntity,
      WebhookEntity,
      ShardIdentityEntity,
      ApiKeyEntity,
      AuditEventEntity,
    ],
    migrations: MIGRATIONS,
    migrationsTransactionMode: 'each',
    synchronize: false,
    installExtensions: false,
    logging: false,
    applicationName: pool.name,
    poolSize: pool.size,
    connectTimeoutMS: pool.connectTimeoutMs,
    // A connection that breaks while idle needs no report: the pool replaces it at its next use.
    poolErrorHandler: () => undefined,
    extra: poolExtras(pool.preparedStatements ?? false, pool.pipeline, pool.silence),
  };
}

export function createDataSource(shard: ShardAddress, pool: PoolSettings): DataSource {
  return new DataSource(dataSourceOptions(shard, pool));
}
