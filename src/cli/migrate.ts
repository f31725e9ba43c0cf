import type { Logger } from 'pino';

/**
 * A logger that also collects the names of the migrations that were applied: opening the bank applies them and tells
 * its logger alone.
 */
export function collectMigrations(logger: Logger, applied: string[]): Logger {
  const info = (...line: unknown[]): void => {
    const [fields] = line;
    if (typeof fields === 'object' && fields !== null && 'migrations' in fields) {
      applied.push(...(fields.migrations as string[]));
    }
    Reflect.apply(logger.info, logger, line);
  };
  return Object.assign(Object.create(logger) as Logger, { info });
}

export function migrateText(applied: readonly string[]): string {
  if (applied.length === 0) return 'The schema is already up to date.';
  return [`Applied ${applied.length} migration(s):`, ...applied.map((name) => `  ${name}`)].join('\n');
}
