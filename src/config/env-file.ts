import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { ENV_FILE_NAMES } from './env-file-names.js';

/**
 * Sets the variables of `.env`, if there is one; those of the environment win. `npm start` and `npm run cli` have Node
 * import this module before everything else. A program that is started in another way reads no file.
 */
const FILE = '.env';

/** Node reads these when it starts, so here they would have no effect. */
const OF_NODE = /^NODE_(?!ENV$)/;

/** What `parseEnv` reads as a blank line, a comment or one variable, whose quoted value may span lines. */
const ENTRY =
  /[ \t\r]*(?:#[^\n]*|(?:export +)?[A-Za-z_]\w*[ \t]*=[ \t]*(?:"[^"]*"|'[^']*'|`[^`]*`)?[^\n]*)?(?:\n|$)/y;

function loadEnvFile(): void {
  const text = contents();
  refuseOtherLines(text);
  for (const [name, value] of Object.entries(parseEnv(text))) {
    if (OF_NODE.test(name)) throw new Error(`${name} has no effect in ${FILE}: set it in the environment.`);
    ENV_FILE_NAMES.add(name);
    process.env[name] ??= value;
  }
}

/** `parseEnv` drops a line that it can't read, and the service would start without that setting. */
function refuseOtherLines(text: string): void {
  for (let at = 0; at < text.length; at = ENTRY.lastIndex) {
    ENTRY.lastIndex = at;
    if (!ENTRY.test(text))
      throw new Error(`${FILE} line ${text.slice(0, at).split('\n').length} is not NAME=value`);
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
