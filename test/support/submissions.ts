import { nameOf, writeSubmissionId } from '../../src/submissions/submission-id.js';
import { query } from './postgres.js';

/** The id of a submission of one dollar as the service signs it, without a broker. */
export async function idOfSubmission(
  databaseUrl: string,
  accountId: number,
  idempotencyKey: string,
  schema = 'bank',
): Promise<string> {
  const [identity] = await query(databaseUrl, `SELECT submission_secret FROM ${schema}.shard_identity`);
  const amount = { units: 1n, decimals: 0 };
  const name = nameOf({ type: 'credit', accountId, amount, idempotencyKey }, 0, undefined);
  return writeSubmissionId(name, String(identity?.submission_secret));
}
