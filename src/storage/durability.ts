import type { DataSource } from 'typeorm';
import { settingsOfNodes } from './citus.js';
import { UserError } from '../domain/user-error.js';

/** The server may lose what it has said is committed. */
export class NotDurableError extends UserError {}

/**
 * For the beginning of a transaction that is rare and must not be lost: its COMMIT is answered when it is on the disk,
 * also where synchronous_commit is off. A setting that waits for a standby as well, or on purpose does not, stays what
 * it is. (Not for each of the ledger's: it costs some 30 microseconds, and a server on which it is off is
 * refused or warned about at the start.)
 */
export const COMMIT_DURABLY = `SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'`;

/** Lifts the server's time limits, which are meant for requests, from work that may take long. Not every version has all. */
export const UNLIMITED = `SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN
  ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')`;

/** What each protects from; a server on which one of them is off may lose what it has acknowledged. */
const MUST_BE_ON = {
  fsync: 'after a power cut the database may be lost or damaged',
  full_page_writes: 'after a power cut the database may be damaged',
  synchronous_commit: 'when the server crashes, what it committed last is lost',
};

/**
 * @param onCitus asks every node of the cluster, since the shard lies on one of them and may be moved to another. A node that
 *   does not answer can't be the shard's own, which has just been read
 * @returns a sentence for each of the server's settings that puts committed transactions at risk, as far as it can be
 *   seen from a session of the service
 */
export async function findWeakSettings(dataSource: DataSource, onCitus: boolean): Promise<string[]> {
  const names = Object.keys(MUST_BE_ON) as (keyof typeof MUST_BE_ON)[];
  const query = dataSource.query.bind(dataSource);
  if (!onCitus) {
    const [settings = {}] = await dataSource.query<Record<string, string>[]>(
      `SELECT ${names.map((name) => `current_setting('${name}') AS ${name}`).join(', ')}`,
    );
    return names.filter((name) => settings[name] === 'off').map((name) => sentence(name));
  }
  const nodes = await settingsOfNodes(query, names);
  return nodes.flatMap(({ node, settings }) =>
    names.filter((name) => settings[name] === 'off').map((name) => sentence(name, ` on ${node}`)),
  );
}

function sentence(name: keyof typeof MUST_BE_ON, where = ''): string {
  return `${name} is off${where}: ${MUST_BE_ON[name]}`;
}
