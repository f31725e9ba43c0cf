import type { INestApplication } from '@nestjs/common';
import { SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import { BEARER } from '../access/access.guard.js';
import { sortedComponents } from '../schema/registry.js';
import { FORBIDDEN, GENERAL_RESPONSES, UNAUTHORIZED } from './components.js';
import { SWAGGER_UI, SWAGGER_UI_PATH } from '../server/swagger-ui.js';

/** The version in package.json; a test compares the two. */
const VERSION = '0.1.0';

const DESCRIPTION = `Account balances, deposits and withdrawals over REST.

- **Money is exact.** Amounts are DECIMAL(18,2) and never pass through a floating-point number. A request may give an
  amount as a number or as a string; a response shows two decimals. If your numbers are doubles, as in JavaScript, ask
  for amounts as strings: \`Accept: application/json; money=string\`.
- **Versions.** Each accepted transaction adds exactly 1 to the version of its account. Give the version that you have
  seen (\`expectedversion\`, or the header \`If-Match\`), and the transaction is refused if the account has changed since.
- **Idempotency.** Give each transaction an \`Idempotency-Key\` of your own. If you send the request again, it is applied
  once, and the answer names the first transaction.
- **Nothing is ignored.** A query parameter or a field that an operation does not know, and a condition or a preference
  that it does not evaluate (\`If-None-Match\` on a posting, \`Prefer\`), is refused with 400, which says what was
  probably meant.
- **Credentials.** \`Authorization: Bearer\` and an API key or an access token, which allow what their scopes say. One with
  an owner sees the accounts of that owner alone; any other account is answered as one that does not exist. A deposit
  needs \`deposits:write\`, a withdrawal \`withdrawals:write\`; \`transactions:write\` implies both, or, for a credential
  with an owner, withdrawals only.
- **All or nothing.** A transaction is applied as a whole or not at all, and the answer to a failure says which.
- **What is no request to an operation** is answered the same everywhere: 404 for a path or a method that is not here,
  400, 417 or 431 for what is not HTTP as the service takes it. See \`x-general-responses\`.`;

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
    { name: 'Transactions', description: 'Deposits and withdrawals' },
    { name: 'Accounts', description: 'Accounts and their balances' },
    { name: 'Operations', description: 'For those who run the service: health and metrics' },
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
  for (const { get, post } of Object.values(paths)) {
    for (const operation of [get, post]) {
      if (!operation || !needsCredential(operation)) continue;
      operation.responses = { 401: UNAUTHORIZED, 403: FORBIDDEN, ...operation.responses };
    }
  }
  return { ...HEAD, paths, components: { ...components, securitySchemes: SECURITY_SCHEMES } };
}

function needsCredential({ security = [] }: Operation): boolean {
  return security.length > 0 && security.every((requirement) => BEARER in requirement);
}

/** Swagger UI at /docs, the document at /openapi.json. */
export function serveOpenApi(app: INestApplication): void {
  SwaggerModule.setup(SWAGGER_UI_PATH, app, () => buildOpenApi(app), SWAGGER_UI);
}
