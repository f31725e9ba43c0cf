import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Acknowledged, Phase, Second, Task } from './generator.js';

/** The compiled file, whether this one runs from dist/ or from source. */
const GENERATOR = fileURLToPath(
  new URL(
    import.meta.url.endsWith('.ts') ? '../../../dist/tools/bench/load/generator.js' : 'generator.js',
    import.meta.url,
  ),
);

/** The process that loads the service, as seen by the observer. One task at a time. */
export class LoadProcess {
  private readonly generator: ChildProcess;

  /** @param accounts account ids from 1 on */
  constructor(serviceUrl: string, accounts: number) {
    this.generator = fork(GENERATOR, [new URL(serviceUrl).port, '1', String(accounts)], {
      serialization: 'advanced',
    });
  }

  /** As many requests at a time as connections. */
  async closed(connections: number, seconds: number): Promise<Second> {
    const [total] = await this.ask<[Second]>({ kind: 'closed', connections, seconds });
    return total;
  }

  /** A fixed rate, whatever happens to the requests. */
  open(connections: number, phases: readonly Phase[]): Promise<Second[]> {
    return this.ask({ kind: 'open', connections, phases });
  }

  /** Holds connections that do nothing, until the process ends. */
  idle(connections: number): Promise<number> {
    return this.ask({ kind: 'idle', connections });
  }

  acknowledged(): Promise<Acknowledged> {
    return this.ask({ kind: 'acknowledged' });
  }

  stop(): void {
    this.generator.kill();
  }

  private ask<Result>(task: Task): Promise<Result> {
    return new Promise((resolve, reject) => {
      const ended = () => reject(new Error('the load generator ended'));
      this.generator.once('exit', ended);
      this.generator.once('message', (result) => {
        this.generator.off('exit', ended);
        resolve(result as Result);
      });
      this.generator.send(task);
    });
  }
}
