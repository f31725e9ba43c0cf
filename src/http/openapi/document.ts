import type { INestApplication } from '@nestjs/common';
import { SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import { BEARER } from '../access/access.guard.js';
import { sortedComponents } from '../schema/registry.js';
import { FORBIDDEN, GENERAL_RESPONSES, UNAUTHORIZED } from './components.js';
import { SWAGGER_UI, SWAGGER_UI_PATH } from '../server/swagger-ui.js';

/** The version in package.json; a test compares the two. */
const VERSION = '0.1.0';

const DESCRIPTION = `A ledger over REST: accounts, deposits, withdrawals, transfers, holds and reversals.

To read: [the API](/docs/api) with examples for curl, [errors](/docs/errors), [limits](/docs/limits),
[security](/docs/security).

- **Try it out.** Open an operation and press Execute. The examples are for account 1, which a new bank starts with.
- **Credentials.** A bank that only this machine can reach may need none. Otherwise press Authorize and enter an API key
  or an access token. What it may do depends on [its scopes](/docs/security#who-should-hold-what) and its owner: with an
  owner, it sees only that owner's accounts, and any other account seems not to exist.
- **Money** is exact: at most 16 digits before the point and as many after it as the account's currency has, two if it
  was opened without one. A request gives an amount as a number or as a string. An answer has a number with exactly these
  decimals; if your numbers are doubles, as in JavaScript, ask for strings:
  \`Accept: application/json; money=string\`. [Generated clients](/docs/api#generated-clients) can do so, too.
- **Versions.** Each transaction adds exactly 1 to the version of its account. Send the version that you have seen
  (\`expectedversion\`, or the header \`If-Match\`), and the transaction is rejected if the account has changed since.
- **Retries.** Give each transaction an \`Idempotency-Key\` of your own. If you send the request again, it is applied
  only once, and the answer names the first transaction.
- **Nothing is ignored.** An unknown query parameter or field, and a condition or a preference that an operation does not
  evaluate (\`If-None-Match\` on a posting, \`Prefer\`), is rejected with 400, which says what was probably meant.
- **Errors.** A transaction is applied as a whole or not at all. Each error has a stable code, in the header
  \`X-Error-Code\`; [errors](/docs/errors) says for each what was applied and what to do. Clients that accept
  \`application/problem+json\` get them as RFC 9457 describes. The operations do not list the errors that any request can
  get, such as 404 for an unknown path, or 431 for headers that are too large.`;

type Operation = NonNullable<OpenAPIObject['paths'][string]['get']>;

const SECURITY_SCHEMES: NonNullable<OpenAPIObject['components']>['securitySchemes'] = {
  [BEARER]: {
    type: 'http',
    scheme: 'bearer',
    description:
      'An API key (`npm run -s cli -- keys create --help`), or an access token of the identity provider. A service that ' +
      'was started for this machine alone needs none.',
  },
};

const HEAD = {
  openapi: '3.1.0',
  info: {
    title: 'Scalable Banking API',
    description: DESCRIPTION,
    version: VERSION,
    license: { name: 'MIT', url: 'https://opensource.org/license/mit' },
  },
  servers: [{ url: '/', description: 'The service that serves this document' }],
  tags: [
    {
      name: 'Transactions',
      description: 'Deposits and withdrawals',
      externalDocs: { description: 'Retries and batches', url: '/docs/api#retries' },
    },
    {
      name: 'Accounts',
      description: 'Accounts and their balances',
      externalDocs: { description: 'Who may do what', url: '/docs/security#who-should-hold-what' },
    },
    {
      name: 'Transfers',
      description: 'Money between accounts, and its way back',
      externalDocs: { description: 'Transfers and reversals', url: '/docs/api#transfers' },
    },
    {
      name: 'Holds',
      description: 'Money that is reserved for later',
      externalDocs: { description: 'Holds and statuses', url: '/docs/api#holds' },
    },
    {
      name: 'Submissions',
      description: 'Requests that are accepted before they are decided',
      externalDocs: { description: 'Asynchronous mode', url: '/docs/api#asynchronous-requests' },
    },
    {
      name: 'Webhooks',
      description: 'Events that the service sends by HTTP',
      externalDocs: { description: 'Receiving webhooks', url: '/docs/webhooks' },
    },
    {
      name: 'Operations',
      description: 'Health, metrics and totals, for those who run the service',
      externalDocs: { description: 'Limits', url: '/docs/limits' },
    },
  ],
  'x-general-responses': GENERAL_RESPONSES,
};

/** The OpenAPI document, as served at /openapi.json and committed as openapi.json. */
export function buildOpenApi(app: INestApplication): OpenAPIObject {
  const { paths, components } = SwaggerModule.createDocument(
    app,
    { ...HEAD, components: sortedComponents() },
    { autoTagControllers: false },
  );
  for (const { get, post, patch, delete: remove } of Object.values(paths)) {
    for (const operation of [get, post, patch, remove]) {
      if (!operation || !needsCredential(operation)) continue;
      operation.responses = { 401: UNAUTHORIZED, 403: FORBIDDEN, ...operation.responses };
      operation.description = [operation.description, scopesOf(operation)].filter(Boolean).join('\n\n');
    }
  }
  return { ...HEAD, paths, components: { ...components, securitySchemes: SECURITY_SCHEMES } };
}

function needsCredential({ security = [] }: Operation): boolean {
  return security.length > 0 && security.every((requirement) => BEARER in requirement);
}

/** Swagger UI shows no scopes of API keys and tokens, so the description names those of which one is needed. */
function scopesOf({ security = [] }: Operation): string {
  const scopes = new Set(security.map((requirement) => `\`${requirement[BEARER]?.[0]}\``));
  return `Scope: ${[...scopes].join(' or ')}.`;
}

/** Swagger UI at /docs, the document at /openapi.json. */
export function serveOpenApi(app: INestApplication): void {
  SwaggerModule.setup(SWAGGER_UI_PATH, app, () => buildOpenApi(app), SWAGGER_UI);
}
