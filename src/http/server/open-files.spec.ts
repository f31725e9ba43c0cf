import { describe, expect, it } from '@jest/globals';
import { loadConfig } from '../../config/config.js';
import { openFilesNeeded, openFilesProblem } from './open-files.js';

describe('openFilesProblem', () => {
  const config = loadConfig({ HTTP_MAX_CONNECTIONS: '1000' });

  it('counts the connections of clients and of every shard', () => {
    const shards = 'postgresql://h/b?schema=a,postgresql://h/b?schema=c';
    const two = loadConfig({ HTTP_MAX_CONNECTIONS: '1000', SHARDS: shards });
    expect(openFilesNeeded(config)).toBeGreaterThan(1_000 + 16);
    // SHARDS requires credentials, so two connections are for their keys.
    expect(openFilesNeeded(two) - openFilesNeeded(config)).toBe(16 + 2);
  });

  it('counts those of the management port, if there is one', () => {
    const two = loadConfig({ HTTP_MAX_CONNECTIONS: '1000', MANAGEMENT_PORT: '9090' });
    expect(openFilesNeeded(two) - openFilesNeeded(config)).toBe(64 + 256);
  });

  it('is silent when the limit suffices, and names both numbers when it does not', () => {
    const needed = openFilesNeeded(config);
    expect(openFilesProblem(config, needed)).toBeUndefined();
    expect(openFilesProblem(config, undefined)).toBeUndefined();
    expect(openFilesProblem(config, needed - 1)).toMatch(
      new RegExp(`${needed - 1}.*HTTP_MAX_CONNECTIONS.*${needed}`),
    );
  });
});
