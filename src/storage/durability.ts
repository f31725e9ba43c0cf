import type { DataSource } from 'typeorm';
import { settingsOfNodes } from './citus.js';
import { UserError } from '../domain/user-error.js';

/** The server may lose transactions that it has reported as committed. */
export class NotDurableError extends UserError {}

/**
 * Put at the beginning of a rare transaction that must not be lost: its COMMIT is answered only once it is on disk,
 * even where synchronous_commit is off. Every other value of the setting, such as waiting for a standby too, is kept.
 * (The ledger's transactions do without it: it costs about 30 microseconds, and a server where the setting is off is
 * refused or warned about at the start.)
 */
export const COMMIT_DURABLY = `SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'`;

/** Lifts the server's time limits, which are meant for requests, for long work. Not every version has all of them. */
export const UNLIMITED = `SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN
  ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')`;

/** What may happen while one of them is off. */
const MUST_BE_ON = {
  fsync: 'after a power cut the database may be lost or damaged',
  full_page_writes: 'after a power cut the database may be damaged',
  synchronous_commit: 'when the server crashes, what it committed last is lost',
};

/**
 * @param onCitus true: asks every node of the cluster, since the shard may be moved to any of them. A node that does
 *   not answer can't hold the shard at present: the shard has just been read
 * @returns a sentence for each setting that puts committed transactions at risk, as the service's session sees it
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
