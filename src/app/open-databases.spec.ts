import { describe, expect, it } from '@jest/globals';
import { embeddedConnections, StartError } from './open-databases.js';
import { loadConfig } from '../config/config.js';

describe('embeddedConnections', () => {
  it('suffices for the pools of all workers and what else may connect, and is never below the default', () => {
    expect(embeddedConnections(loadConfig({}))).toBe(100);
    expect(embeddedConnections(loadConfig({ WORKERS: '3' }))).toBe(100);
    expect(embeddedConnections(loadConfig({ WORKERS: '64' }))).toBe(64 * 16 + 50);
    expect(embeddedConnections(loadConfig({ DATABASE_READ_POOL: '1000' }))).toBe(1_008 + 50);
  });

  it('refuses more than the embedded server is made for', () => {
    const config = loadConfig({ WORKERS: '100', DATABASE_READ_POOL: '100' });
    expect(() => embeddedConnections(config)).toThrow(StartError);
    expect(() => embeddedConnections(config)).toThrow(/WORKERS.*DATABASE_READ_POOL.*DATABASE_URL/);
  });
});
