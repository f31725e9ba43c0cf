import type { INestApplication } from '@nestjs/common';
import { DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';

/** The OpenAPI document, as it is served at /openapi.json and committed as openapi.json. */
export function buildOpenApi(app: INestApplication): OpenAPIObject {
  const builder = new DocumentBuilder().setTitle('Scalable Banking API').setVersion('1.0.0');
  return SwaggerModule.createDocument(app, builder.build());
}

/** Swagger UI at /docs, the document at /openapi.json. */
export function serveOpenApi(app: INestApplication): void {
  SwaggerModule.setup('docs', app, () => buildOpenApi(app), {
    jsonDocumentUrl: 'openapi.json',
    yamlDocumentUrl: '',
  });
}
