import './register-typescript.mjs';
import { removeTestServer } from './global-setup.js';

export default async function globalTeardown(): Promise<void> {
  await removeTestServer();
}
