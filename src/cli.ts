import { enableCompileCache } from 'node:module';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { addAccountsAssign } from './cli/accounts-assign.js';
import { addArchive } from './cli/archive.js';
import { addAuditCheck } from './cli/audit-check.js';
import { addAuditExport } from './cli/audit-export.js';
import { addAuditList } from './cli/audit-list.js';
import { addBackup } from './cli/backup.js';
import { addCapture } from './cli/capture.js';
import { addEventsReplay } from './cli/events-replay.js';
import { addEventsTail } from './cli/events-tail.js';
import { addClose, addFreeze, addUnfreeze } from './cli/freeze.js';
import { addHold } from './cli/hold.js';
import { exitCodeOf } from './cli/interrupted.js';
import { addKeysCreate } from './cli/keys-create.js';
import { addKeysList } from './cli/keys-list.js';
import { addKeysRevoke } from './cli/keys-revoke.js';
import { addKeysRotate } from './cli/keys-rotate.js';
import { addMigrate } from './cli/migrate.js';
import { addReset } from './cli/reset.js';
import { addRestore } from './cli/restore.js';
import { addReverse } from './cli/reverse.js';
import { addSeed } from './cli/seed.js';
import { addShardsList } from './cli/shards-list.js';
import { addShardsMove } from './cli/shards-move.js';
import { addSubmissionsDiscard, addSubmissionsList, addSubmissionsReplay } from './cli/submissions.js';
import { addTransfer } from './cli/transfer.js';
import { addTransfersCancel, addTransfersList, addTransfersReconcile } from './cli/transfers.js';
import { addVerify } from './cli/verify.js';
import { addVoid } from './cli/void.js';
import { addWebhooksList } from './cli/webhooks-list.js';
import { addWebhooksListen } from './cli/webhooks-listen.js';

// A command loads its use case when it runs; V8 compiles it once.
enableCompileCache(join(import.meta.dirname, '../.compile-cache'));

const WRONG_USAGE = 2;

function createProgram(): Command {
  const program = new Command('npm run -s cli --')
    .description(
      'Works on the bank of DATABASE_URL or, without it, of the data folder, whether the service runs or not.',
    )
    .addHelpText(
      'after',
      '\nExit codes: 0 done; 1 it failed, or the books are not whole; 2 wrong usage; 130 stopped by Ctrl-C.',
    )
    .showHelpAfterError('Add --help for the options.')
    .exitOverride();
  const group = (name: string, description: string, ...commands: ((group: Command) => void)[]) => {
    const parent = program.command(name).description(description);
    for (const add of commands) add(parent);
  };
  for (const add of [addMigrate, addSeed, addReset, addVerify]) add(program);
  for (const add of [addTransfer, addHold, addCapture, addVoid, addReverse]) add(program);
  for (const add of [addFreeze, addUnfreeze, addClose]) add(program);
  group('accounts', 'assign owners to accounts', addAccountsAssign);
  group(
    'keys',
    'credentials for services: API keys',
    ...[addKeysCreate, addKeysList, addKeysRevoke, addKeysRotate],
  );
  group('audit', 'the audit log and account heads', ...[addAuditList, addAuditExport, addAuditCheck]);
  for (const add of [addArchive, addBackup, addRestore]) add(program);
  group('shards', "the bank's shards: where they are, and moving them", addShardsList, addShardsMove);
  group(
    'transfers',
    'transfers between shards',
    ...[addTransfersList, addTransfersCancel, addTransfersReconcile],
  );
  group('events', 'what the bank publishes to RabbitMQ', addEventsTail, addEventsReplay);
  group('webhooks', 'events that are sent by HTTP', addWebhooksList, addWebhooksListen);
  group(
    'submissions',
    'submissions that could not be read, and were put aside',
    ...[addSubmissionsList, addSubmissionsReplay, addSubmissionsDiscard],
  );
  return program;
}

/** The one place where a failure becomes a message and an exit code. */
async function fail(error: unknown): Promise<void> {
  if (error instanceof CommanderError) {
    // Commander has already printed what is wrong; help on request is not a failure.
    process.exitCode = error.exitCode === 0 ? 0 : WRONG_USAGE;
    return;
  }
  const { userMessage } = await import('./app/user-message.js');
  console.error(`error: ${userMessage(error)}`);
  process.exitCode = exitCodeOf(error);
}

// The reader is gone, as with `| head`. The command still finishes its work.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});
await createProgram().parseAsync().catch(fail);
