import { envJsonToBruV2, jsonToBruV2, jsonToCollectionBru, type BruRequest, type Item } from '@usebruno/lang';
import { answerOf, bodyOf, isStream, successOf, type Document, type Operation } from './document.js';

/** A request of the collection, before it is written down. */
interface Draft {
  /** Of the file. */
  readonly id: string;
  readonly name: string;
  readonly folder: string;
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
  /** With variables in it. */
  readonly body: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly status: string;
  /** The variable that its answer sets for later requests, and the answer's field. */
  readonly sets: string | undefined;
  readonly field: string;
  /** By which a run can leave it out. */
  readonly tags: readonly string[];
}

/** Where the first example would get in the way of later requests. */
const EXAMPLES: Readonly<Record<string, string>> = { changeAccount: 'open', redeliver: 'all' };

/** What a run through all requests needs besides one of each operation. */
const EXTRAS: Readonly<Record<string, Partial<Draft>>> = {
  openAccount: { id: 'openAnotherAccount', name: 'Open another account', sets: 'otherAccountId' },
  postTransaction: {
    ...{ id: 'submitTransaction', name: 'Submit a transaction', folder: 'Submissions', tags: ['rabbitmq'] },
    ...{ headers: { Prefer: 'respond-async' }, status: '202', sets: 'submissionId' },
  },
};

/** Operations that work only with an optional part of the bank, or only once something has been delivered. */
const TAGS: Readonly<Record<string, readonly string[]>> = {
  getSubmission: ['rabbitmq'],
  getDelivery: ['delivery'],
};

/** The fields of bodies that name an account. */
const ACCOUNT_FIELDS = ['accountId', 'from', 'to', 'near'];

const README = `A request for each operation of the API, made from openapi.json by \`npm run openapi\`.

Run all in order: they open accounts of their own and go on with the ids that they get. Those with the tag \`rabbitmq\` need
a service with RABBITMQ_URL, those with the tag \`delivery\` a webhook that was sent an event, and its id as \`eventId\`. Where the service asks for a credential, \`apiKey\` is a key with the scope \`admin\`.

Without the application, in this folder:

    npx @usebruno/cli run -r --env local --env-var apiKey=bank_… --exclude-tags rabbitmq,delivery`;

/** A collection for Bruno: the texts of its files, by path. */
export function collectionOf(document: Document): Map<string, string> {
  const routes = routesOf(document);
  const drafts = draftsOf(routes);
  const folders = new Set(routes.map(({ operation }) => operation.tags[0]));
  const variables = [
    { name: 'baseUrl', value: 'http://127.0.0.1:3000', enabled: true },
    { name: 'apiKey', value: '', enabled: true, secret: true },
  ];
  const files = new Map([
    [
      'bruno.json',
      `${JSON.stringify({ version: '1', name: document.info.title, type: 'collection' }, null, 2)}\n`,
    ],
    [
      'collection.bru',
      jsonToCollectionBru({ auth: { mode: 'bearer', bearer: { token: '{{apiKey}}' } }, docs: README }),
    ],
    ['environments/local.bru', envJsonToBruV2({ variables })],
  ]);
  for (const [index, name] of [...folders].entries()) {
    const docs = document.tags.find((tag) => tag.name === name)?.description;
    const folder = { meta: { name, seq: index + 1 }, auth: { mode: 'inherit' }, docs } as const;
    files.set(`${name}/folder.bru`, jsonToCollectionBru(folder));
    for (const [place, draft] of inOrder(drafts.filter((each) => each.folder === name)).entries()) {
      files.set(`${name}/${draft.id}.bru`, jsonToBruV2(requestOf(draft, place + 1)));
    }
  }
  return files;
}

interface Route {
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
}

function routesOf({ paths }: Document): Route[] {
  const routes = Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => ({ method, path, operation })),
  );
  return routes.filter(({ operation }) => !isStream(operation));
}

function draftsOf(routes: readonly Route[]): Draft[] {
  const ids = idsOf(routes);
  return routes.flatMap(({ method, path, operation }) => {
    const { operationId: id, summary: name, tags } = operation;
    const made = method === 'post' ? ids.get(path.split('/').at(-1) ?? '') : undefined;
    const draft: Draft = {
      ...{ id, name, folder: tags[0], method, path, operation, headers: {}, tags: TAGS[id] ?? [] },
      body: bodyText(bodyOf(operation, EXAMPLES[id]), [...ids.values()]),
      status: successOf(operation),
      sets: made,
      // An account's id is `accountId` in answers, all others are `id`.
      field: made !== undefined && made in Object(answerOf(operation)) ? made : 'id',
    };
    const extra = EXTRAS[id];
    return extra ? [draft, { ...draft, ...extra }] : [draft];
  });
}

/** By the last segment of the path to which a new one is posted: the parameter of the paths to one of them. */
function idsOf(routes: readonly Route[]): Map<string, string> {
  return new Map(
    routes.flatMap(({ path }) =>
      [...path.matchAll(/\/([^/]+)\/\{(\w+)\}/g)].map(([, segment = '', id = '']) => [segment, id] as const),
    ),
  );
}

/** In the document's order, but what makes a thing comes before what uses it, and what deletes it comes last. */
function inOrder(drafts: readonly Draft[]): Draft[] {
  const made = drafts.flatMap(({ sets }) => sets ?? []);
  const rank = ({ method, path }: Draft) =>
    method === 'delete' ? 2 : made.some((id) => path.includes(`{${id}}`)) ? 1 : 0;
  return drafts.toSorted((one, other) => rank(one) - rank(other));
}

function requestOf(draft: Draft, seq: number): BruRequest {
  const { name, method, operation, body, status, sets, field, tags } = draft;
  const params = paramsOf(draft);
  const query = params.filter(({ type, enabled }) => type === 'query' && enabled);
  const search = query.map((item) => `${item.name}=${item.value}`).join('&');
  const path = draft.path.replaceAll(/\{(\w+)\}/g, ':$1');
  return {
    meta: { name, type: 'http', seq, tags },
    http: {
      method,
      url: `{{baseUrl}}${path}${search && `?${search}`}`,
      body: body === undefined ? 'none' : 'json',
      auth: 'inherit',
    },
    params,
    headers: headersOf(draft),
    ...(body !== undefined && { body: { json: body } }),
    ...(sets !== undefined && {
      vars: { res: [{ name: sets, value: `res.body.${field}`, enabled: true, local: false }] },
    }),
    assertions: [{ name: 'res.status', value: `eq ${status}`, enabled: true }],
    docs: operation.description ?? '',
  };
}

/** What is optional is there to be switched on. */
function paramsOf({ operation }: Draft): Item[] {
  return (operation.parameters ?? []).flatMap(({ name, in: type, required = false, schema }) => {
    if (type === 'header') return [];
    const value = type === 'path' ? `{{${name}}}` : String(schema.example ?? '');
    return [{ name, value, enabled: required, type }];
  });
}

function headersOf({ operation, headers }: Draft): Item[] {
  const given: Readonly<Record<string, string>> = { 'Idempotency-Key': '{{$guid}}', ...headers };
  const names = (operation.parameters ?? []).flatMap(({ name, in: place }) =>
    place === 'header' ? name : [],
  );
  return names.map((name) => ({ name, value: given[name] ?? '', enabled: name in given }));
}

/** The example, with the accounts and other things of this run. The account of the examples is number 1. */
function bodyText(body: unknown, ids: readonly string[]): string | undefined {
  const text = JSON.stringify(
    body,
    (key, value: unknown) => {
      if (ACCOUNT_FIELDS.includes(key)) return value === 1 ? '{{accountId}}' : '{{otherAccountId}}';
      return ids.includes(key) ? `{{${key}}}` : value;
    },
    2,
  ) as string | undefined;
  // Accounts are numbers.
  return text?.replaceAll(/"(\{\{(?:accountId|otherAccountId)\}\})"/g, '$1');
}
