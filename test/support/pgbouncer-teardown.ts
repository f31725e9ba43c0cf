import './register-typescript.mjs';
import globalTeardown from './global-teardown.js';

export default async function pgBouncerTeardown(): Promise<void> {
  await globalThis.testPooler?.stop();
  globalThis.testPooler = undefined;
  await globalTeardown();
}
