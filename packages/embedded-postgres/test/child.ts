import { EmbeddedPostgres, type EmbeddedPostgresOptions } from '../src/index.js';

export type ChildOptions = Omit<EmbeddedPostgresOptions, 'prepare' | 'log' | 'onLost'>;

/** What the process tells the test that forked it. */
export type ChildReport =
  | { readonly kind: 'opened'; readonly url: string; readonly created: boolean }
  | { readonly kind: 'failed'; readonly name: string; readonly message: string }
  | { readonly kind: 'lost'; readonly message: string };

const report = (message: ChildReport) => process.send?.(message);

// Its own file, since a test needs an owner that it can kill. Any message asks it to close and end.
try {
  const postgres = await EmbeddedPostgres.open({
    ...(JSON.parse(process.argv[2] ?? '') as ChildOptions),
    log: (level, message) => console.error(`${level}: ${message}`),
    onLost: ({ message }) => report({ kind: 'lost', message }),
  });
  process.once('message', () => void postgres.close().then(() => process.disconnect()));
  report({ kind: 'opened', url: postgres.url, created: postgres.created });
} catch (error) {
  const { name, message } = error as Error;
  report({ kind: 'failed', name, message });
  process.disconnect();
}
