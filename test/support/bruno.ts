import { randomUUID } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { bruToEnvJsonV2, bruToJsonV2, collectionBruToJson, type BruRequest, type Item } from '@usebruno/lang';
import { JSON_TYPE } from './requests.js';

/** A request of a collection, and what became of its assertions. */
export interface Sent {
  /** Its path in the collection's folder. */
  readonly file: string;
  readonly expected: readonly string[];
  readonly actual: readonly string[];
}

/**
 * Sends all requests of a collection in their order, as `bru run -r` does: of Bruno's language this reads what
 * tools/collection writes. (Bruno's command line has 510 packages in 272 MB.)
 *
 * @param given variables besides those of the environment `local`
 * @param excluded requests with this tag are left out
 */
export async function runCollection(
  folder: string,
  given: Readonly<Record<string, string>>,
  excluded: string,
): Promise<Sent[]> {
  const text = (file: string) => readFileSync(join(folder, file), 'utf8');
  const { variables } = bruToEnvJsonV2(text('environments/local.bru'));
  const values = new Map<string, string | number>([
    ...variables.map(({ name, value }) => [name, value] as const),
    ...Object.entries(given),
  ]);
  const { token = '' } = collectionBruToJson(text('collection.bru')).auth.bearer ?? {};
  const sent: Sent[] = [];
  for (const { file, request } of inOrder(folder, text)) {
    if (request.meta.tags?.includes(excluded)) continue;
    sent.push({ file, ...(await send(request, values, token)) });
  }
  return sent;
}

function inOrder(folder: string, text: (file: string) => string) {
  const seqOfFolder = (file: string) =>
    Number(collectionBruToJson(text(join(dirname(file), 'folder.bru'))).meta?.seq);
  return globSync('*/*.bru', { cwd: folder, exclude: ['environments/*', '*/folder.bru'] })
    .map((file) => ({ file, folder: seqOfFolder(file), request: bruToJsonV2(text(file)) }))
    .sort((a, b) => a.folder - b.folder || Number(a.request.meta.seq) - Number(b.request.meta.seq));
}

async function send(
  { http, params = [], headers = [], body, vars, assertions = [] }: BruRequest,
  values: Map<string, string | number>,
  token: string,
): Promise<Omit<Sent, 'file'>> {
  const filled = (text: string) =>
    text.replaceAll(/\{\{([\w$]+)\}\}/g, (_, name: string) => {
      const value = name === '$guid' ? randomUUID() : values.get(name);
      if (value === undefined) throw new Error(`the variable ${name} is not set`);
      return String(value);
    });
  const inPath = params.filter(({ type }) => type === 'path');
  const url = inPath.reduce((path, { name, value }) => path.replace(`:${name}`, value), http.url);
  const response = await fetch(filled(url), {
    method: http.method.toUpperCase(),
    headers: {
      authorization: filled(`Bearer ${token}`),
      ...(http.body === 'json' && { 'content-type': JSON_TYPE }),
      ...Object.fromEntries(enabled(headers).map(({ name, value }) => [name, filled(value)])),
    },
    body: body?.json === undefined ? null : filled(body.json),
  });
  const answer = await response.text();
  for (const { name, value } of enabled(vars?.res ?? [])) values.set(name, memberOf(answer, value));
  return {
    expected: enabled(assertions).map(({ name, value }) => `${name} ${value}`),
    actual: enabled(assertions).map(({ name }) => `${name} eq ${response.status}`),
  };
}

const enabled = (items: readonly Item[]) => items.filter((item) => item.enabled);

/** @param place like `res.body.id` */
function memberOf(answer: string, place: string): string | number {
  const field = /^res\.body\.(\w+)$/.exec(place)?.[1] ?? '';
  const value = (JSON.parse(answer) as Record<string, string | number>)[field];
  if (value === undefined) throw new Error(`no ${place} in ${answer}`);
  return value;
}
