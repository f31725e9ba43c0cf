import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';

/**
 * Sets the variables of `.env`, if there is one; those of the environment win. `npm start` and `npm run cli` have Node
 * import this module before everything else. A program that is started in another way reads no file.
 */
const FILE = '.env';

/** Node reads these when it starts, so here they would have no effect. */
const OF_NODE = /^NODE_(?!ENV$)/;

function loadEnvFile(): void {
  for (const [name, value] of Object.entries(parseEnv(contents()))) {
    if (OF_NODE.test(name)) throw new Error(`${name} has no effect in ${FILE}: set it in the environment.`);
    process.env[name] ??= value;
  }
}

/** Empty without a file. One that can't be read is not the same: the service would start with other settings. */
function contents(): string {
  try {
    return readFileSync(FILE, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return '';
    throw new Error(`${FILE} can't be read: ${message}`, { cause: error });
  }
}

try {
  loadEnvFile();
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}
