import cliProgress from 'cli-progress';

/** Shows how far a long command is. */
export interface Progress {
  update(done: number, total: number): void;
  /** Leaves the terminal as it was. */
  stop(): void;
}

/** Where there is no terminal, say in a log of CI, a line this often is enough. */
const LINE_EVERY_MS = 5_000;

/** A bar on a terminal, else a line now and then. On stderr, so that stdout holds results only. */
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
      // Lines need no tidying up.
    },
  };
}
