import { globSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { collectionOf } from './collection.js';
import type { Document } from './document.js';

const FOLDER = 'docs/collection';

/** Writes docs/collection from openapi.json. With --check it fails if the existing files differ. */
async function main(): Promise<void> {
  const files = collectionOf(JSON.parse(await readFile('openapi.json', 'utf8')) as Document);
  if (!process.argv.includes('--check')) return await write(files);
  const texts = await Promise.all(
    globSync('**/*.{bru,json}', { cwd: FOLDER }).map(
      async (path) => [path, await readFile(join(FOLDER, path), 'utf8')] as const,
    ),
  );
  const found = new Map(texts);
  const differ = [...new Set([...files.keys(), ...found.keys()])].filter(
    (path) => files.get(path) !== found.get(path),
  );
  if (differ.length === 0) return;
  console.error(`${FOLDER} is not what openapi.json describes: ${differ.join(', ')}.`);
  console.error('Run `npm run openapi` and commit the files.');
  process.exitCode = 1;
}

async function write(files: ReadonlyMap<string, string>): Promise<void> {
  await rm(FOLDER, { recursive: true, force: true });
  for (const [path, text] of files) {
    await mkdir(dirname(join(FOLDER, path)), { recursive: true });
    await writeFile(join(FOLDER, path), text);
  }
}

await main();
