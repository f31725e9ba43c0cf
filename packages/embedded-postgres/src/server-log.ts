export type LogLevel = 'info' | 'warn' | 'error';

export interface LogLine {
  readonly level: LogLevel;
  readonly message: string;
  /** Expected at every start and stop; of interest only in between. */
  readonly routine: boolean;
}

/** Prefix of each line of the server's log: which of its processes wrote it. */
export const LOG_LINE_PREFIX = '[%b] ';

/**
 * What a line of the server's log means to an operator; undefined if it needs no attention. A failed statement is left
 * out: its client is told, and its text may be private.
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
    // Between start and stop the postmaster reports only problems, such as a killed process.
    return process === 'postmaster' ? { level: 'warn', message, routine: true } : undefined;
  }
  return { level: severity === 'WARNING' ? 'warn' : 'error', message, routine: true };
}
