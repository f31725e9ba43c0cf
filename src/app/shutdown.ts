import type { Logger } from 'pino';

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

/** For the time before there is anything to stop. (The first process of a container has no default for signals.) */
export function leaveOnSignals(): void {
  for (const signal of SIGNALS) process.once(signal, leave);
}

function leave(): void {
  process.exit(0);
}

export interface Stop {
  readonly stopGracefully: () => Promise<void>;
  /** A stop that takes longer is cut short. */
  readonly timeoutMs: number;
  readonly logger: Logger;
}

/**
 * From now on SIGTERM and SIGINT stop the process gracefully, with exit code 0.
 *
 * @returns does the same with exit code 1, for a process that can't go on
 */
export function stopOnSignals({ stopGracefully, timeoutMs, logger }: Stop): (error: Error) => void {
  let stopping = false;
  const stop = async (why: object, exitCode: number): Promise<void> => {
    if (stopping) return;
    stopping = true;
    logger.info(why, 'stopping: open requests are still answered');
    setTimeout(
      () => die(logger, new Error(`not stopped after ${timeoutMs} ms`), 'stopped hard'),
      timeoutMs,
    ).unref();
    try {
      await stopGracefully();
    } catch (error) {
      die(logger, error, 'could not stop in order');
    }
    logger.info('stopped');
    process.exit(exitCode);
  };
  for (const signal of SIGNALS) {
    process.off(signal, leave);
    process.on(signal, () => void stop({ signal }, 0));
  }
  return (error) => {
    logger.fatal({ err: error }, "can't go on");
    void stop({}, 1);
  };
}

/** After a defect nobody knows what still works: a dead process gets restarted, a half-dead one gives wrong answers. */
export function dieOnDefects(logger: Logger): void {
  process.on('uncaughtException', (error) => die(logger, error, 'uncaught exception'));
  process.on('unhandledRejection', (error) => die(logger, error, 'unhandled rejection'));
}

export function die(logger: Logger, error: unknown, message: string): never {
  logger.fatal({ err: error }, message);
  process.exit(1);
}
