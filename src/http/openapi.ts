import type { INestApplication } from '@nestjs/common';
import { SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import { GENERAL_RESPONSES, sortedComponents } from './openapi-components.js';
import { SWAGGER_UI, SWAGGER_UI_PATH } from './swagger-ui.js';

/** The version of package.json; a test compares the two. */
const VERSION = '0.1.0';

const DESCRIPTION = `Account balances, deposits and withdrawals over REST.

- **Money is exact.** Amounts are DECIMAL(18,2) and never pass through a floating-point number. A request may give an
  amount as a number or as a string; a response shows two decimals.
- **Versions.** Each accepted transaction adds exactly 1 to the version of its account. Give the version that you have
  seen (\`expectedversion\`, or the header \`If-Match\`), and the transaction is refused if the account has changed since.
- **Idempotency.** Give each transaction an \`Idempotency-Key\` of your own. If you send the request again, it is applied
  once, and the answer names the first transaction.
- **All or nothing.** A transaction is applied as a whole or not at all, and the answer to a failure says which.
- **What is no request to an operation** is answered the same everywhere: 404 for a path or a method that is not here,
  400, 417 or 431 for what is not HTTP as the service takes it. See \`x-general-responses\`.`;

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

/** The OpenAPI document, as it is served at /openapi.json and committed as openapi.json. */
export function buildOpenApi(app: INestApplication): OpenAPIObject {
  const { paths, components } = SwaggerModule.createDocument(
    app,
    { ...HEAD, components: sortedComponents() },
    { autoTagControllers: false },
  );
  return { ...HEAD, paths, components };
}

/** Swagger UI at /docs, the document at /openapi.json. */
export function serveOpenApi(app: INestApplication): void {
  SwaggerModule.setup(SWAGGER_UI_PATH, app, () => buildOpenApi(app), SWAGGER_UI);
}
