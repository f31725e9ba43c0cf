import { readFile } from 'node:fs/promises';
import { findPackageJSON } from 'node:module';
import { dirname, join, posix } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { SWAGGER_UI_PATH } from './swagger-ui.js';

/** The documents for those who call the API, by the file's path below `docs` without `.md`. */
export const PAGES: ReadonlyMap<string, string> = new Map([
  ['api', 'The API'],
  ['errors', 'Errors'],
  ['webhooks', 'Webhooks'],
  ['limits', 'Limits'],
  ['security', 'Security'],
  ['guides/five-minutes', 'Guides: five minutes'],
  ['guides/retries', 'Retries'],
  ['guides/transfers-and-holds', 'Transfers and holds'],
  ['guides/webhooks', 'Receiving webhooks'],
  ['guides/reconciliation', 'Reconciliation'],
]);

const STYLE = `
  :root { color-scheme: light dark; --line: #8884; --code: #8882; }
  body { margin: 0 auto; padding: 1rem; max-width: 60rem; font: 1rem/1.5 system-ui, sans-serif; }
  nav { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; padding-bottom: 0.75rem; border-bottom: 1px solid var(--line); }
  h1, h2, h3 { line-height: 1.2; overflow-wrap: anywhere; }
  h2 { font-size: min(1.5rem, 5vw); }
  h2, h3 { margin-top: 2rem; }
  :target { background: var(--code); outline: 0.25rem solid var(--code); }
  code { padding: 0.1em 0.3em; background: var(--code); border-radius: 3px; font-size: 0.9em; overflow-wrap: anywhere; }
  pre { padding: 0.75rem; background: var(--code); overflow-x: auto; }
  pre code { padding: 0; background: none; overflow-wrap: normal; }
  table { display: block; overflow-x: auto; border-collapse: collapse; }
  th, td { padding: 0.35rem 0.6rem; border: 1px solid var(--line); text-align: left; vertical-align: top; }
  td code { overflow-wrap: normal; }
  td:last-child { min-width: 14rem; }`;

/** Serves the documents next to Swagger UI. Each is rendered when it is first asked for. */
export function servePages(fastify: FastifyInstance): void {
  for (const name of PAGES.keys()) {
    let page: Promise<string> | undefined;
    fastify.get(pathOf(name), async (_request, reply) => {
      page ??= render(name).catch((error: unknown) => {
        page = undefined;
        throw error;
      });
      return reply.type('text/html; charset=utf-8').send(await page);
    });
  }
}

const pathOf = (name: string) => `/${SWAGGER_UI_PATH}/${name}`;

async function render(name: string): Promise<string> {
  // Loaded here: most processes never show a page.
  const [{ Marked }, { gfmHeadingId }] = await Promise.all([
    import('marked'),
    import('marked-gfm-heading-id'),
  ]);
  const marked = new Marked(gfmHeadingId(), {
    renderer: {
      link({ href, tokens }) {
        const text = this.parser.parseInline(tokens);
        const target = targetOf(href, name);
        return target === undefined ? text : `<a href="${target}">${text}</a>`;
      },
    },
  });
  const root = dirname(findPackageJSON(import.meta.url) ?? '.');
  const document = await readFile(join(root, 'docs', `${name}.md`), 'utf8');
  return htmlOf(PAGES.get(name) ?? name, await marked.parse(document));
}

/** Where a link of the document `from` leads to on a page; undefined: to a file that the service does not serve. */
function targetOf(href: string, from: string): string | undefined {
  if (/^https?:/.test(href)) return href;
  const link = /^(?:([\w./-]+)\.md)?(#[\w-]+)?$/.exec(href);
  if (!link) return undefined;
  const [, path, anchor = ''] = link;
  if (path === undefined) return anchor;
  const name = posix.join(posix.dirname(from), path);
  return PAGES.has(name) ? pathOf(name) + anchor : undefined;
}

function htmlOf(title: string, body: string): string {
  const others = [...PAGES].map(([name, label]) => `<a href="${pathOf(name)}">${label}</a>`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} – Scalable Banking API</title>
<link rel="icon" href="data:,">
<style>${STYLE}
</style>
</head>
<body>
<nav><a href="/${SWAGGER_UI_PATH}">Swagger UI</a>${others.join('')}</nav>
<main>
${body}</main>
</body>
</html>
`;
}
