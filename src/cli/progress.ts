import cliProgress from 'cli-progress';

/** Shows the progress of a long command. */
export interface Progress {
  update(done: number, total: number): void;
  /** Restores the terminal. */
  stop(): void;
}

/** Without a terminal, as in a CI log, an occasional line is enough. */
const LINE_EVERY_MS = 5_000;

/** A bar on a terminal, otherwise an occasional line. On stderr, so that stdout holds results only. */
export function createProgress(label: string, stream: NodeJS.WriteStream = process.stderr): Progress {
  return stream.isTTY ? bar(label, stream) : lines(label, stream);
}

function bar(label: string, stream: NodeJS.WriteStream): Progress {
  const single = new cliProgress.SingleBar(
    {
      stream,
      format: `${label} {bar} {percentage} % | {value} of {total} | {eta_formatted} left`,
      barsize: 24,
      hideCursor: true,
      clearOnComplete: true,
      gracefulExit: false,
    },
    cliProgress.Presets.shades_classic,
  );
  return {
    update(done, total) {
      if (!single.isActive) single.start(total, done);
      else single.update(done);
    },
    stop() {
      single.stop();
    },
  };
}

function lines(label: string, stream: NodeJS.WritableStream): Progress {
  let nextAt = performance.now() + LINE_EVERY_MS;
  return {
    update(done, total) {
      if (performance.now() < nextAt) return;
      nextAt = performance.now() + LINE_EVERY_MS;
      stream.write(`${label}: ${done} of ${total} (${Math.floor((100 * done) / total)} %)\n`);
    },
    stop() {
      // Lines leave nothing to clean up.
    },
  };
}
