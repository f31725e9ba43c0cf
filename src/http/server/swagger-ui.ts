import type { SwaggerCustomOptions } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';

type SampleOf = (schema: unknown, contentType: string, config: unknown, example: unknown) => unknown;

/** What a plugin gets from Swagger UI. */
interface System {
  readonly React: { createElement(type: unknown, properties: object, ...children: unknown[]): unknown };
  readonly getComponent: (name: string, container: boolean) => unknown;
  readonly fn: { getSampleSchema: SampleOf };
}

interface ResponseBody {
  readonly content: string;
  readonly contentType?: string;
}

/** JSON.parse tells its reviver the text of a number; TypeScript's library does not know that yet. */
type ParseWithSource = (
  text: string,
  reviver: (key: string, value: unknown, context: { readonly source: string }) => unknown,
) => unknown;

/**
 * A plugin of Swagger UI. It is sent to the browser as text, so it can use nothing from outside.
 *
 * Swagger UI parses a response to format it: 350.00 would be shown as 350, and large amounts would be rounded. Where the
 * browser can, numbers are shown as they came. NDJSON it takes for one JSON text: an example would be quoted, and a
 * response reported as an error. Both are shown as they are.
 */
function showBodiesAsTheyAre() {
  const isLines = (contentType = '') => contentType.includes('ndjson');

  /** @throws SyntaxError if it is not JSON, TypeError if the browser can't keep numbers */
  const formatted = (text: string) => {
    const body = (JSON.parse as ParseWithSource)(text, (_key, value, { source }) =>
      typeof value === 'number' ? JSON.rawJSON(source) : value,
    );
    return JSON.stringify(body, null, 2);
  };

  return {
    afterLoad(this: Pick<System, 'fn'>, { fn: { getSampleSchema } }: System) {
      this.fn.getSampleSchema = (schema, contentType, config, example) =>
        isLines(contentType) ? example : getSampleSchema(schema, contentType, config, example);
    },
    wrapComponents: {
      responseBody:
        (original: unknown, { React, getComponent }: System) =>
        (properties: ResponseBody) => {
          const { content, contentType } = properties;
          try {
            const code = React.createElement(
              getComponent('HighlightCode', true),
              { language: 'json', fileName: 'response.json', downloadable: true, canCopy: true },
              isLines(contentType) ? content : formatted(content),
            );
            return React.createElement('div', {}, React.createElement('h5', {}, 'Response body'), code);
          } catch {
            return React.createElement(original, properties);
          }
        },
    },
  };
}

/** A plugin: the headers of a response are shown on demand, because every response of every operation has some. */
function foldHeaders() {
  return {
    wrapComponents: {
      headers:
        (original: unknown, { React }: System) =>
        (properties: { readonly headers?: { readonly size: number } }) =>
          properties.headers?.size
            ? React.createElement(
                'details',
                {},
                React.createElement('summary', {}, 'Headers'),
                React.createElement(original, properties),
              )
            : null,
    },
  };
}

/**
 * A plugin. To show an operation, Swagger UI reads the whole document anew, in a way that can follow references to other
 * documents, which takes seconds. This one has none, so they are followed here.
 */
function followReferences() {
  const at = (root: unknown, keys: readonly string[]): unknown =>
    keys.reduce((value, key) => (Object(value) as Readonly<Record<string, unknown>>)[key], root);

  return {
    fn: {
      resolveSubtree(document: unknown, path: readonly string[]) {
        const resolved = (value: unknown, within: readonly string[]): unknown => {
          if (Array.isArray(value)) return value.map((each) => resolved(each, within));
          if (typeof value !== 'object' || value === null) return value;
          const { $ref, ...others } = value as { readonly $ref?: unknown };
          if (typeof $ref !== 'string' || within.includes($ref))
            return Object.fromEntries(
              Object.entries(value).map(([key, each]) => [key, resolved(each, within)]),
            );
          const target = at(document, $ref.slice('#/'.length).split('/'));
          return resolved({ ...Object(target), ...others }, [...within, $ref]);
        };
        return Promise.resolve({ spec: resolved(at(document, path), []), errors: [] });
      },
    },
  };
}

/**
 * Hidden: the bar on top, which would only name Swagger; the choice of a server, of which there is one; the links of
 * responses, of which there are none. On a narrow screen the cells of a table come one below the other.
 */
const STYLE = `
  .swagger-ui :is(.topbar, .scheme-container .schemes .schemes-server-container, .response-col_links, .headers__title) { display: none }
  .swagger-ui .scheme-container { padding: 15px 0 }
  .swagger-ui .auth-wrapper { margin-left: auto }
  .swagger-ui .parameters-col_name { min-width: 10em }
  .swagger-ui .info li { margin: 0.5em 0 }
  .swagger-ui .responses-table .response > td { padding-top: 1.5em }
  .swagger-ui summary { cursor: pointer }
  @media (max-width: 640px) {
    .swagger-ui .opblock-tag { flex-wrap: wrap }
    .swagger-ui .opblock-tag a { flex: 1 }
    .swagger-ui .opblock-tag :is(small, div) { flex: 1 0 100%; order: 1; padding: 0; text-align: left }
    .swagger-ui :is(.parameters, .responses-table) > thead { display: none }
    .swagger-ui :is(.parameters, .responses-table) > tbody > tr > td { display: block; width: auto; max-width: none; padding-left: 0 }
    .swagger-ui table.headers { display: block; overflow-x: auto }
  }`;

export const SWAGGER_UI_PATH = 'docs';

/** Its page, what that loads beside the document, and the pages next to it. Asked for every request, so not of the route. */
export function isSwaggerUi({ raw }: FastifyRequest): boolean {
  return raw.url?.startsWith(`/${SWAGGER_UI_PATH}`) ?? false;
}

/** The files that the page loads from the package of Swagger UI, which holds its package.json and source maps, too. */
const FILES = new Set([
  'favicon-16x16.png',
  'favicon-32x32.png',
  'swagger-ui-bundle.js',
  'swagger-ui-standalone-preset.js',
  'swagger-ui.css',
]);

/** Whether a route's file is one of the package that the page does not load. What the service generates has other routes. */
export function isNeedlessFile(route: string, file: string | undefined): boolean {
  return route === `/${SWAGGER_UI_PATH}/*` && !FILES.has(file ?? '');
}

export const SWAGGER_UI: SwaggerCustomOptions = {
  raw: ['json'],
  jsonDocumentUrl: 'openapi.json',
  customSiteTitle: 'Scalable Banking API',
  customCss: STYLE,
  swaggerOptions: {
    tryItOutEnabled: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    // The badge of the public validator would send the document's address to another host.
    validatorUrl: null,
    plugins: [showBodiesAsTheyAre, foldHeaders, followReferences],
  },
};
