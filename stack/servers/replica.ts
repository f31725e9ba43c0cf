import { join } from 'node:path';
import { freePort } from '../../src/database/embedded/start-server.js';
import type { RunAs } from '../../src/database/embedded/run-as.js';
import { newPlace, Server, started, type Place } from './server.js';

const MAIN = join(process.cwd(), 'dist/src/main.js');
const READY_TIMEOUT_MS = 5_000;

/** Node may lie where another user can't reach it, and the service has no data of its own to guard. */
const OURSELVES: RunAs = { user: 'ourselves', owner: undefined, ids: undefined, prefix: [] };

/** One instance of the service, from the build. */
export class Replica extends Server {
  constructor(
    place: Place,
    port: number,
    private readonly settings: NodeJS.ProcessEnv,
    protected override readonly onLine: ((line: string) => void) | undefined,
  ) {
    super(place, port);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  protected command(): readonly string[] {
    return [process.execPath, MAIN];
  }

  protected override environment(): NodeJS.ProcessEnv {
    return { ...super.environment(), ...this.settings, HOST: '127.0.0.1', PORT: String(this.port) };
  }

  protected async isReady(): Promise<boolean> {
    const signal = AbortSignal.timeout(READY_TIMEOUT_MS);
    return (await fetch(`${this.url}/health/ready`, { signal })).ok;
  }
}

/** @param settings the service's variables, but for HOST and PORT */
export async function startReplica(
  settings: NodeJS.ProcessEnv,
  onLine?: (line: string) => void,
): Promise<Replica> {
  const place = { ...(await newPlace('api')), runAs: OURSELVES };
  return started(new Replica(place, await freePort(), settings, onLine));
}
