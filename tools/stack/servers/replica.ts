import { join } from 'node:path';
import { freePort, type RunAs } from '@scalable-banking/embedded-postgres';
import { newPlace, Server, started, type Place } from './server.js';

const PROBE_TIMEOUT_MS = 5_000;

/** As the current user: another one might not be able to reach Node, and the service has no data folder to protect. */
const OURSELVES: RunAs = { user: 'ourselves', owner: undefined, ids: undefined, prefix: [] };

export interface ReplicaOptions {
  /** The service's variables, except HOST and PORT. */
  readonly settings: NodeJS.ProcessEnv;
  /** Called with every line that it writes. */
  readonly onLine?: (line: string) => void;
  /** Node options. */
  readonly nodeOptions?: readonly string[];
  /** The folder of dist/ and node_modules/; undefined: this checkout. */
  readonly root?: string;
}

/** One instance of the built service. */
export class Replica extends Server {
  protected override readonly onLine: ((line: string) => void) | undefined;

  constructor(
    place: Place,
    port: number,
    private readonly options: ReplicaOptions,
  ) {
    super(place, port);
    this.onLine = options.onLine;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  protected command(): readonly string[] {
    const { root = process.cwd(), nodeOptions = [] } = this.options;
    return [process.execPath, ...nodeOptions, join(root, 'dist/src/main.js')];
  }

  protected override environment(): NodeJS.ProcessEnv {
    return { ...super.environment(), ...this.options.settings, HOST: '127.0.0.1', PORT: String(this.port) };
  }

  protected async isReady(): Promise<boolean> {
    const signal = AbortSignal.timeout(PROBE_TIMEOUT_MS);
    return (await fetch(`${this.url}/health/ready`, { signal })).ok;
  }
}

export async function startReplica(options: ReplicaOptions): Promise<Replica> {
  const place = { ...(await newPlace('api')), runAs: OURSELVES };
  return started(new Replica(place, await freePort(), options));
}
