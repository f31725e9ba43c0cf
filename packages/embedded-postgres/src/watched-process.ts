import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf } from './errors.js';
import { CHILD_ENVIRONMENT, type RunAs } from './run-as.js';

/**
 * Starts a watcher, then becomes the program ("$@"), so that the program is the child that we spawned. The watcher's
 * stdin closes when this Node process ends, even by kill -9. It then sends the program the signal $1, and SIGQUIT 20 s
 * later. A line on stdin dismisses it. A shell in between, which ends at once, keeps the watcher from being a child of
 * the server: PostgreSQL does not expect unknown children.
 */
const WATCHED = `
signal=$1; shift
exec 3<&0 </dev/null
( (
  read -r _ <&3 && exit
  kill -s "$signal" $$ || exit
  n=0; while [ $n -lt 20 ]; do sleep 1; kill -0 $$ || exit; n=$((n+1)); done
  kill -s QUIT $$
) >/dev/null 2>&1 & )
exec 3<&-
exec "$@"`;

const KEPT_LINES = 20;
const LAST_OUTPUT_WAIT_MS = 500;

/** Signals that end a server, the gentlest first, each with the milliseconds it is given. */
export type StopSignals = readonly (readonly [NodeJS.Signals, number])[];
export const FAST_STOP: StopSignals = [
  ['SIGINT', 10_000],
  ['SIGQUIT', 5_000],
  ['SIGKILL', 5_000],
];
/** For a server whose files are gone. */
export const IMMEDIATE_STOP: StopSignals = FAST_STOP.slice(1);

/**
 * A server program that never outlives this process. It has its own session, so a terminal's Ctrl-C does not reach it.
 */
export class WatchedProcess {
  readonly pid: number | undefined;
  /** How it ended: "exit code 1", "SIGKILL". Never rejects. */
  readonly ended: Promise<string>;
  private readonly child: ChildProcess;
  private readonly outputEnded: Promise<void>;
  private lines: string[] = [];
  private hasEnded = false;

  /**
   * @param endSignal asks the program to end when this process dies: `INT`, `TERM`
   * @param onLine called with every line that it writes
   * @param environment the only variables of ours that it sees
   */
  constructor(
    runAs: RunAs,
    endSignal: string,
    command: readonly string[],
    onLine: (line: string) => void = () => undefined,
    environment: NodeJS.ProcessEnv = CHILD_ENVIRONMENT,
  ) {
    const [program = '', ...args] = [
      ...runAs.prefix,
      ...['/bin/sh', '-c', WATCHED, 'sh', endSignal],
      ...command,
    ];
    const child = spawn(program, args, { ...runAs.ids, cwd: '/', env: environment, detached: true });
    this.child = child;
    this.pid = child.pid;
    this.outputEnded = new Promise((resolve) => child.once('close', () => resolve()));
    this.ended = new Promise((resolve) => {
      child.on('error', (error) => resolve(codeOf(error) ?? error.message));
      child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
    void this.ended.then(() => {
      this.hasEnded = true;
      child.stdin.end('dismissed\n');
    });
    child.stdin.on('error', () => undefined); // the watcher may be gone first
    for (const stream of [child.stdout, child.stderr]) this.readLines(stream, onLine);
  }

  get running(): boolean {
    return !this.hasEnded;
  }

  /** The last lines that it wrote; complete once it has ended, unless its children keep the pipe open. */
  async lastLines(): Promise<string[]> {
    if (this.hasEnded) await within(LAST_OUTPUT_WAIT_MS, this.outputEnded);
    return this.lines;
  }

  /** Sends a signal to the program only. */
  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Sends one signal after another until it has ended; false if even the last one left it running. */
  async stop(signals: StopSignals = FAST_STOP): Promise<boolean> {
    for (const [signal, waitMs] of signals) {
      if (this.hasEnded) break;
      this.child.kill(signal);
      this.child.kill('SIGCONT'); // a stopped process does not receive the signal
      await within(waitMs, this.ended);
    }
    return this.hasEnded;
  }

  private readLines(stream: NodeJS.ReadableStream, onLine: (line: string) => void): void {
    let rest = '';
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines.filter((each) => each !== '')) {
        this.lines = [...this.lines.slice(1 - KEPT_LINES), line];
        onLine(line);
      }
    });
    stream.on('error', () => undefined);
  }
}

/** @returns whether the promise settled in time; leaves no timer behind */
export async function within(waitMs: number, promise: Promise<unknown>): Promise<boolean> {
  const timer = new AbortController();
  const late = sleep(waitMs, false, { signal: timer.signal }).catch(() => false);
  const settled = promise.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([settled, late]);
  } finally {
    timer.abort();
  }
}
