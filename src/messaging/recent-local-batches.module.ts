import { Module } from '@nestjs/common';
import { RecentLocalBatches } from './recent-local-batches.js';

/** What the ledger's write path tells the relays of the same process. */
@Module({ providers: [RecentLocalBatches], exports: [RecentLocalBatches] })
export class RecentLocalBatchesModule {}
