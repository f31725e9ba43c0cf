import type { Logger } from 'pino';
import type { Config } from '../config/config.js';
import type { Tracing } from './tracing.js';

/** Loads OpenTelemetry only if traces are wanted. @returns undefined: they are not */
export async function openTracing(settings: Config['tracing'], logger: Logger): Promise<Tracing | undefined> {
  if (!settings) return undefined;
  const { OpenTelemetryTracing } = await import('./open-telemetry.js');
  return OpenTelemetryTracing.open(settings, logger);
}
