import 'reflect-metadata';
import { readFile, writeFile } from 'node:fs/promises';
import { NestFactory } from '@nestjs/core';
import { AppModule } from '../../src/app/app.module.js';
import { loadConfig } from '../../src/config/config.js';
import { createFastifyAdapter } from '../../src/http/fastify.js';
import { buildOpenApi } from '../../src/http/openapi/document.js';
import { securityHeaders } from '../../src/http/server/security-headers.js';

const FILE = 'openapi.json';

/** Writes openapi.json into the working directory. With --check it fails if the existing file differs. */
async function main(): Promise<void> {
  const text = await openApiText();
  if (!process.argv.includes('--check')) return await writeFile(FILE, text);
  if ((await readFile(FILE, 'utf8').catch(() => '')) === text) return;
  console.error(`${FILE} is not what the sources describe. Run \`npm run openapi\` and commit the file.`);
  process.exitCode = 1;
}

/** In preview mode Nest builds nothing, so no database is needed. */
async function openApiText(): Promise<string> {
  const config = loadConfig({ DATABASE_URL: 'postgresql://localhost/nowhere' });
  const bank = { bankId: '', shards: config.database.shards ?? [], down: new Set<number>() };
  const adapter = createFastifyAdapter(config, await securityHeaders(false));
  const app = await NestFactory.create(AppModule.register(config, bank), adapter, {
    preview: true,
    logger: false,
    abortOnError: false,
  });
  return `${JSON.stringify(buildOpenApi(app), null, 2)}\n`;
}

await main();
