import type { SwaggerCustomOptions } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';

/** What a plugin gets from Swagger UI. */
interface System {
  readonly React: { createElement(type: unknown, properties: object, ...children: unknown[]): unknown };
  readonly getComponent: (name: string, container: boolean) => unknown;
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
 * browser can, numbers are shown as they came.
 */
function showNumbersAsTheyCame() {
  return {
    wrapComponents: {
      responseBody:
        (original: unknown, { React, getComponent }: System) =>
        (properties: { readonly content: string }) => {
          try {
            const body = (JSON.parse as ParseWithSource)(properties.content, (_key, value, { source }) =>
              typeof value === 'number' ? JSON.rawJSON(source) : value,
            );
            const code = React.createElement(
              getComponent('HighlightCode', true),
              { language: 'json', fileName: 'response.json', downloadable: true, canCopy: true },
              JSON.stringify(body, null, 2),
            );
            return React.createElement('div', {}, React.createElement('h5', {}, 'Response body'), code);
          } catch {
            // No JSON, or a browser that cannot.
            return React.createElement(original, properties);
          }
        },
    },
  };
}

export const SWAGGER_UI_PATH = 'docs';

/** Its page, and what that loads beside the document. Asked for every request, so not of the route. */
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
  // The bar on top would only name Swagger.
  customCss: '.swagger-ui .topbar { display: none }',
  swaggerOptions: {
    tryItOutEnabled: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    // The badge of the public validator would send the document's address to another host.
    validatorUrl: null,
    plugins: [showNumbersAsTheyCame],
  },
};
