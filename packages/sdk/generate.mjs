/**
 * Writes src/generated from openapi.json and the schemas of events in docs/events. With --check it fails if what is there
 * differs.
 */
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { createClient } from '@hey-api/openapi-ts';

const ROOT = join(import.meta.dirname, '../..');
const GENERATED = join(import.meta.dirname, 'src/generated');
const PLAIN = 'application/json';
const EXACT = 'application/json; money=string';

const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'));

/** The API as this client uses it: money is text in both directions, and errors are plain. */
function exactApi() {
  const text = readFileSync(join(ROOT, 'openapi.json'), 'utf8');
  const api = JSON.parse(text, (key, value) => {
    if (key === 'content' && value[EXACT]) return { ...value, [PLAIN]: value[EXACT], [EXACT]: undefined };
    // A number of int64 is a bigint to the generator, and a number to JSON.parse. These end at 2^53 - 1.
    if (key === 'format' && value === 'int64') return undefined;
    // Only money may be a number with decimals, or its text.
    if (key === 'oneOf') return value.filter(({ type }) => type !== 'number');
    return value;
  });
  const { schemas } = api.components;
  api.components.schemas = Object.fromEntries(
    Object.entries(schemas)
      // The exact forms come last, so that they replace the others.
      .sort(([a], [b]) => Number(isExact(a)) - Number(isExact(b)))
      .map(([name, schema]) => [nameOf(name), { ...schema, title: nameOf(name) }]),
  );
  return JSON.parse(JSON.stringify(api), (key, value) => {
    if (key === '$ref') return nameOf(value);
    if (key === 'content') return omit(value, (type) => type.startsWith('application/problem'));
    return value;
  });
}

/** ReceiptWithTextMoney and TextMoney are what this client calls Receipt and Money. */
const nameOf = (name) => name.replace(/WithTextMoney$/, '').replace(/TextMoney$/, 'Money');
const isExact = (name) => nameOf(name) !== name;

const omit = (object, isUnwanted) =>
  Object.fromEntries(Object.entries(object).filter(([name]) => !isUnwanted(name)));

/** The events as components of a document, named like TransactionPostedV1, and BankEvent, any of them. */
function eventsApi() {
  const schemas = {};
  for (const file of globSync(join(ROOT, 'docs/events/*.schema.json')).sort()) {
    const { $defs, ...schema } = omit(readJson(file), (name) => name === '$schema' || name === '$id');
    const name = basename(file, '.schema.json').replace(/(?:^|\.)(.)/g, (_all, first) => first.toUpperCase());
    // $defs are local to the file; the generator knows those of the document only.
    schemas[name] = JSON.parse(JSON.stringify(schema), (_key, value) => {
      const { $ref, ...rest } = value ?? {};
      return $ref === undefined ? value : { ...$defs[$ref.replace('#/$defs/', '')], ...rest };
    });
  }
  const oneOf = Object.keys(schemas).map((name) => ({ $ref: `#/components/schemas/${name}` }));
  schemas.BankEvent = { description: 'What the bank publishes, told apart by `type`.', oneOf };
  return { openapi: '3.1.0', info: { title: 'Events', version: '1' }, paths: {}, components: { schemas } };
}

function generate(folder) {
  const output = (path) => ({ path, module: { extension: '.js' }, entryFile: false });
  return createClient([
    {
      input: exactApi(),
      output: output(join(folder, 'api')),
      plugins: ['@hey-api/client-fetch', '@hey-api/typescript', '@hey-api/sdk'],
      logs: { level: 'silent' },
    },
    {
      input: eventsApi(),
      output: output(join(folder, 'events')),
      plugins: ['@hey-api/typescript'],
      logs: { level: 'silent' },
    },
  ]);
}

const filesIn = (folder) =>
  new Map(
    globSync(join(folder, '**/*.ts'))
      .sort()
      .map((file) => [relative(folder, file), readFileSync(file, 'utf8')]),
  );

if (process.argv.includes('--check')) {
  const fresh = mkdtempSync(join(tmpdir(), 'sdk-'));
  try {
    await generate(fresh);
    if (JSON.stringify([...filesIn(fresh)]) !== JSON.stringify([...filesIn(GENERATED)])) {
      console.error('packages/sdk/src/generated is outdated. Run `npm run openapi` and commit it.');
      process.exitCode = 1;
    }
  } finally {
    rmSync(fresh, { recursive: true });
  }
} else {
  await generate(GENERATED);
}
