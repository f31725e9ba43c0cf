import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parsePostmasterFile, readPassword, superuserUrl } from '@scalable-banking/embedded-postgres';
import { EMBEDDED_NAMES } from '../../src/app/embedded-bank.js';
import { makePrivateFolder } from '../stack/servers/private-folder.js';
import { signalPostgres } from '../stack/servers/postgres.js';
import { startReplica, type Replica } from '../stack/servers/replica.js';
import { SETTINGS, withSteppedClock, type BankOptions, type BankUnderTest } from './bank.js';
import { foreignFaults, instanceFaults, type Fault } from './faults.js';
import { Instance } from './instances.js';
import { foundBank } from './senders.js';

/** The service gives up if it has to start its server more than five times a minute. */
const RESTART_APART_MS = 13_000;

/** The simple form: one instance that runs its own PostgreSQL and restarts it when it dies. */
export async function startEmbeddedBank(options: BankOptions): Promise<BankUnderTest> {
  const dataDir = await makePrivateFolder('chaos');
  let replica: Replica | undefined;
  try {
    const { clients, operator } = await foundBank({ DATA_DIR: dataDir });
    replica = await startReplica({
      settings: { ...SETTINGS, ...options.settings, DATA_DIR: dataDir },
      nodeOptions: [...withSteppedClock(), ...(options.nodeOptions ?? [])],
      onLine: (line) => options.onLine('api-1', line),
    });
    const instance = new Instance('api-1', replica, operator);
    const server = new OwnPostgres(join(dataDir, 'postgres'), await readPassword(dataDir));
    return {
      instances: [instance],
      senders: clients,
      shards: [server],
      faults: [...instanceFaults(instance), ...ownFaults(server), ...foreignFaults('postgres', server)],
      ownAccounts: [1], // the demo account
      events: undefined,
      leftOut: [],
      stop: async () => {
        await instance.stop();
        await rm(dataDir, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await replica?.stop();
    await rm(dataDir, { recursive: true, force: true });
    throw error;
  }
}

/** The service's embedded server, as described by the files in its data folder. */
class OwnPostgres {
  readonly schema = 'bank';
  private last: { pid: number; port: number } | undefined;

  constructor(
    private readonly clusterDir: string,
    private readonly password: string,
  ) {}

  /** Changes when the service is restarted, because the port does. */
  get url(): string {
    return superuserUrl({ ...EMBEDDED_NAMES, port: this.now.port, password: this.password });
  }

  get pid(): number {
    return this.now.pid;
  }

  /** The current process and port or, while the server is down, the last ones. */
  private get now(): { pid: number; port: number } {
    try {
      const found = parsePostmasterFile(readFileSync(join(this.clusterDir, 'postmaster.pid'), 'utf8'));
      if (found?.port !== undefined) this.last = { pid: found.pid, port: found.port };
    } catch {
      // It is starting.
    }
    if (!this.last) throw new Error('the embedded PostgreSQL has not run yet');
    return this.last;
  }
}

/** The service repairs these faults by itself, so their cause is gone at once. */
function ownFaults(server: OwnPostgres): Fault[] {
  const target = 'postgres';
  const sent = (name: string, signal: NodeJS.Signals): Fault => ({
    ...{ name, target, weight: 1, longestMs: 50, healingMs: RESTART_APART_MS },
    strike: async () => {
      await signalPostgres(server.pid, signal);
      return () => Promise.resolve();
    },
  });
  return [
    sent('postgres-kill', 'SIGKILL'),
    sent('postgres-immediate-stop', 'SIGQUIT'),
    {
      ...{ name: 'postgres-hang', target, weight: 2 },
      strike: async () => {
        const { pid } = server;
        await signalPostgres(pid, 'SIGSTOP');
        return () => signalPostgres(pid, 'SIGCONT');
      },
    },
  ];
}
