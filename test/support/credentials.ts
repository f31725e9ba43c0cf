import { createKey, type KeyCreated, type KeyRequest } from '../../src/admin/keys.js';
import type { TestApp } from './app.js';

/** Creates a key in an instance's bank. */
export function makeKey(app: TestApp, request: Partial<KeyRequest> = {}): Promise<KeyCreated> {
  return createKey([{ url: app.databaseUrl, schema: 'bank' }], {
    name: 'test',
    scopes: ['admin'],
    ...request,
  });
}

/** The header that carries a credential. */
export const bearer = (credential: string): Record<string, string> => ({
  authorization: `Bearer ${credential}`,
});
