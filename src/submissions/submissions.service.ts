import { Inject, Injectable } from '@nestjs/common';
import type { KeyUse } from '../domain/books.js';
import { requestFingerprint } from '../domain/command.js';
import { LedgerError, type Rejection } from '../domain/errors.js';
import type { Sender } from '../domain/sender.js';
import { answerOf } from '../http/exception.filter.js';
import { HoldReader } from '../ledger/read/hold-reader.js';
import { KeyReader } from '../ledger/read/key-reader.js';
import { LedgerReader } from '../ledger/read/ledger-reader.js';
import { TransferReader } from '../ledger/read/transfer-reader.js';
import { SHARDS } from '../sharding/sharding.module.js';
import type { Shard } from '../sharding/shard.js';
import { digestOfOwner, readSubmissionId, type SubmissionName } from './submission-id.js';
import { SubmissionDto, type Outcome } from './submissions.dto.js';

/** Reads submissions, which have no row of their own: one is what its id says and what became of its key. */
@Injectable()
export class SubmissionsService {
  constructor(
    private readonly keys: KeyReader,
    private readonly reader: LedgerReader,
    private readonly transfers: TransferReader,
    private readonly holds: HoldReader,
    @Inject(SHARDS) private readonly shards: readonly Shard[],
  ) {}

  /** @throws LedgerError SUBMISSION_NOT_FOUND, DATABASE_FAILED, OVERLOADED */
  async get(id: string, sender: Sender): Promise<SubmissionDto> {
    const name = readSubmissionId(id, (shard) => this.secretOf(shard));
    if (!name) throw notFound();
    const found = await this.keys.useOf(name.accountId, name.idempotencyKey, sender.user);
    if (!found || !isVisible(name, found.owner, sender)) throw notFound();
    const outcome = found.use && (await this.outcomeOf(name, found.use, sender));
    return new SubmissionDto(id, name, outcome);
  }

  /** @returns undefined: there is no such shard */
  private secretOf(index: number): string | undefined {
    const shard = this.shards[index];
    if (shard && shard.submissionSecret === undefined)
      throw new LedgerError({ code: 'DATABASE_FAILED', currentVersion: null });
    return shard?.submissionSecret;
  }

  private async outcomeOf(name: SubmissionName, use: KeyUse, { owner, user }: Sender): Promise<Outcome> {
    if ('rejection' in use) {
      const isSame = use.fingerprint === undefined || use.fingerprint === name.fingerprint;
      return refusalOf(
        isSame ? use.rejection : { code: 'IDEMPOTENCY_KEY_REUSED', original: { refused: true } },
      );
    }
    const { transactionId, transferId, type } = use;
    const isSame = requestFingerprint(use) === name.fingerprint;
    if (transferId !== undefined) {
      if (!isSame) return refusalOf({ code: 'IDEMPOTENCY_KEY_REUSED', original: { transferId } });
      return { transfer: await this.transfers.transfer(transferId, owner, user) };
    }
    if (type === 'hold') {
      const holdId = use.holdId ?? transactionId;
      if (!isSame) return refusalOf({ code: 'IDEMPOTENCY_KEY_REUSED', original: { holdId } });
      return { hold: await this.holds.hold(holdId, owner, user) };
    }
    if (!isSame) return refusalOf({ code: 'IDEMPOTENCY_KEY_REUSED', original: { transactionId } });
    return { transaction: await this.reader.transaction(transactionId, owner, user) };
  }
}

const notFound = () => new LedgerError({ code: 'SUBMISSION_NOT_FOUND' });

const refusalOf = (rejection: Rejection): Outcome => ({ refusal: answerOf(new LedgerError(rejection)) });

/**
 * Only to who may see the account, and as long as it is its sender's: what came of another owner's account never takes
 * effect.
 */
function isVisible({ owner }: SubmissionName, ownerNow: string | undefined, sender: Sender): boolean {
  const maySee = sender.owner === undefined || sender.owner === ownerNow;
  return maySee && (owner === '' || owner === digestOfOwner(ownerNow));
}
