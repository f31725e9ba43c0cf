import type { LoggerService } from '@nestjs/common';
import { pino, type Logger, type LoggerOptions } from 'pino';
import pinoPretty from 'pino-pretty';
import type { Config } from '../config/config.js';
import { sqlStateOf } from '../storage/database-errors.js';
import { LineLimit } from './line-limit.js';

/** Contexts in which Nest logs its own start, which is of interest only for debugging. */
const FRAMEWORK = new Set([
  'InstanceLoader',
  'RoutesResolver',
  'RouterExplorer',
  'NestFactory',
  'NestApplication',
  'TypeOrmModule',
]);

/** File descriptors. */
export const STDOUT = 1;
export const STDERR = 2;

/** JSON lines for machines, readable ones on a terminal. Bodies, headers and secrets are never logged. */
export function createLogger(config: Config['log'], destination = STDOUT): Logger {
  // When a database is down, every request logs a line, so warnings and errors are limited by kind.
  const limit = new LineLimit((kind, leftOut) =>
    logger.warn({ leftOut }, `within one second more lines were left out: ${kind}`),
  );
  const options: LoggerOptions = {
    level: config.level,
    base: config.showPid ? { pid: process.pid } : undefined,
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: describeError },
    hooks: { logMethod: limitedBy(limit) },
  };
  // Written synchronously, so that the last lines before a crash are not lost.
  const json = config.format === 'json' || (config.format === 'auto' && !process.stdout.isTTY);
  const stream = json
    ? pino.destination({ dest: destination, sync: true })
    : pinoPretty({ destination, sync: true, translateTime: 'SYS:HH:MM:ss.l' });
  const logger: Logger = pino(options, stream);
  return logger;
}

const WARN = 40;
const FATAL = 60;

function limitedBy(limit: LineLimit): NonNullable<LoggerOptions['hooks']>['logMethod'] {
  return function (given, method, level) {
    if (level >= WARN && level < FATAL && !limit.admits(kindOf(given))) return;
    method.apply(this, given);
  };
}

/** The text of a line without the parts that differ from one request to the next. */
function kindOf([fields, text]: readonly unknown[]): string {
  if (typeof fields !== 'object' || fields === null) return String(fields);
  const { msg, status, err } = fields as { msg?: unknown; status?: unknown; err?: unknown };
  const parts = [text ?? msg, status, err instanceof Error ? err.message : undefined];
  return parts.filter((part) => typeof part === 'string' || typeof part === 'number').join(', ');
}

/** Leaves out a failed query's parameters, and the server's detail, which quotes rows: neither belongs in a log. */
function describeError(error: unknown): object {
  if (!(error instanceof Error)) return { message: String(error) };
  const { name, message, stack } = error;
  return { type: name, message, code: sqlStateOf(error), stack };
}

/** Lets Nest and its modules write to pino. */
export class NestLogger implements LoggerService {
  constructor(private readonly logger: Logger) {}

  log(message: unknown, context?: string): void {
    this.write(context !== undefined && FRAMEWORK.has(context) ? 'debug' : 'info', message, [context]);
  }

  warn(message: unknown, ...rest: unknown[]): void {
    this.write('warn', message, rest);
  }

  error(message: unknown, ...rest: unknown[]): void {
    this.write('error', message, rest);
  }

  fatal(message: unknown, ...rest: unknown[]): void {
    this.write('fatal', message, rest);
  }

  debug(message: unknown, ...rest: unknown[]): void {
    this.write('debug', message, rest);
  }

  verbose(message: unknown, ...rest: unknown[]): void {
    this.write('trace', message, rest);
  }

  /** Nest passes the context last; an error or a stack may come before it. */
  private write(
    level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal',
    message: unknown,
    rest: unknown[],
  ): void {
    const context = rest.at(-1);
    const detail = rest.slice(0, -1).find((item) => item !== undefined);
    const fields = {
      ...(typeof context === 'string' && { context }),
      ...(detail instanceof Error && { err: detail }),
      ...(typeof detail === 'string' && { stack: detail }),
    };
    if (typeof message === 'object' && message !== null) this.logger[level]({ ...fields, ...message });
    else this.logger[level](fields, String(message));
  }
}
