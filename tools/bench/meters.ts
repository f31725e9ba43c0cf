import { postmasterOf, processorSeconds, withClient } from './tools.js';

/** A value that only grows; a load is charged with its growth meanwhile. */
export interface Meter {
  readonly unit: 'µs' | 'B';
  readonly read: () => Promise<number>;
}

/** By the suffix of the figures' names. */
export type Meters = Readonly<Record<string, Meter>>;

/** Processor time of one server and its children. */
export function serviceMeter(pid: number): Meters {
  return { service: processorMeter(pid) };
}

/** Processor time of PostgreSQL with all its sessions, and what it writes to its write-ahead log. */
export async function databaseMeters(url: string): Promise<Meters> {
  const wal = () =>
    withClient(url, async (client) => {
      const { rows } = await client.query<{ bytes: string }>(
        `SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS bytes`,
      );
      return Number(rows[0]?.bytes);
    });
  return { PostgreSQL: processorMeter(await postmasterOf(url)), WAL: { unit: 'B', read: wal } };
}

function processorMeter(pid: number): Meter {
  return { unit: 'µs', read: () => Promise.resolve(processorSeconds(pid) * 1e6) };
}
