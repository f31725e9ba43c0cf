export type LogLevel = 'info' | 'warn' | 'error';

export interface LogLine {
  readonly level: LogLevel;
  readonly message: string;
  /** Part of every start and stop: of interest only when it comes in between. */
  readonly routine: boolean;
}

/** Prepended to each line of the server's log: the kind of its process that speaks. */
export const LOG_LINE_PREFIX = '[%b] ';

/**
 * What a line of the server's log means to an operator; undefined for what concerns nobody. A statement that a
 * client's own session refuses is told to that client, and its text may be private: it stays out.
 */
export function readLogLine(line: string): LogLine | undefined {
  const match = /^\[([\w -]+)\] (LOG|WARNING|ERROR|FATAL|PANIC): +(.*)$/.exec(line);
  if (!match) return undefined;
  const [, process = '', severity = '', text = ''] = match;
  const message = `PostgreSQL (${process}): ${text}`;
  if (severity === 'PANIC') return { level: 'error', message, routine: false };
  if (/client backend/.test(process)) {
    return severity === 'FATAL' ? { level: 'warn', message, routine: true } : undefined;
  }
  if (severity === 'LOG') {
    if (/not properly shut down/.test(text)) return { level: 'info', message, routine: false };
    // Between start and stop the postmaster speaks only of what goes wrong, such as a killed process.
    return process === 'postmaster' ? { level: 'warn', message, routine: true } : undefined;
  }
  return { level: severity === 'WARNING' ? 'warn' : 'error', message, routine: true };
}
