import { loadConfig, type Config } from '../../src/config/config.js';

/** Settings by section, including those that have no variable. */
export type Overrides = { readonly [Section in keyof Config]?: Partial<NonNullable<Config[Section]>> };

/**
 * The configuration of a service that runs in this process. Overrides may change constants too: a test can't wait as
 * long, or send as much, as the service allows.
 */
export function configWith(environment: Record<string, string>, ...overrides: readonly Overrides[]): Config {
  const config: Record<string, object | undefined> = { ...loadConfig(environment) };
  for (const [section, settings] of overrides.flatMap((each) => Object.entries(each))) {
    if (config[section]) config[section] = { ...config[section], ...settings };
  }
  return config as unknown as Config;
}
