import { setTimeout as sleep } from 'node:timers/promises';
import type { Replica } from '../stack/servers/replica.js';
import { send } from './http-client.js';
import type { Sender } from './senders.js';

const LOST = /^bank_balance_cache_writes_lost_total (\d+)/m;
const PROBE_TIMEOUT_MS = 2_000;
const RESTART_PAUSE_MS = 200;
const START_WITHIN_MS = 120_000;

/** An instance of the service that can be killed and restarted. */
export class Instance {
  private starts = 1;
  private down = false;
  private lost = 0;

  constructor(
    readonly name: string,
    private readonly replica: Replica,
    private readonly operator: Sender,
  ) {}

  get url(): string {
    return this.replica.url;
  }

  /** The current process, like `api-1#2`. */
  get label(): string {
    return `${this.name}#${this.starts}`;
  }

  /** False when it has ended by itself. */
  get isAsItShouldBe(): boolean {
    return this.down || this.replica.running;
  }

  async kill(): Promise<void> {
    this.down = true;
    await this.replica.kill();
  }

  /**
   * Keeps starting it until it is ready: another fault may prevent a start.
   *
   * @throws with its output when it could not be started within two minutes
   */
  async start(): Promise<void> {
    this.starts += 1;
    this.lost = 0;
    for (const giveUpAt = performance.now() + START_WITHIN_MS; ;) {
      try {
        await this.replica.start();
        this.down = false;
        return;
      } catch (error) {
        if (performance.now() > giveUpAt) throw error;
        await sleep(RESTART_PAUSE_MS);
      }
    }
  }

  async signal(signal: 'SIGSTOP' | 'SIGCONT' | 'SIGUSR2'): Promise<void> {
    await this.replica.kill(signal);
  }

  /** How many balances it failed to write to the shared cache since the last call; undefined: it does not answer. */
  async newlyLost(): Promise<number | undefined> {
    const label = this.label;
    const { headers } = this.operator;
    const answer = await send('GET', `${this.url}/metrics`, { timeoutMs: PROBE_TIMEOUT_MS, headers }).catch(
      () => undefined,
    );
    const total = Number(LOST.exec(answer?.text ?? '')?.[1] ?? NaN);
    if (Number.isNaN(total) || label !== this.label) return undefined;
    const newly = total - this.lost;
    this.lost = total;
    return newly;
  }

  async stop(): Promise<void> {
    this.down = true;
    await this.replica.stop();
  }
}
