// Lets Node load TypeScript sources: `node --import ./test/support/register-typescript.mjs file.ts`, and also in jest's
// globalSetup, which runs outside jest's own module loader. Compiles with swc and the project's .swcrc. Packages of the
// workspace are loaded from their sources too.
import { existsSync, readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transformSync } from '@swc/core';

const SOURCE = '@scalable-banking/source';
const root = dirname(dirname(import.meta.dirname));

registerHooks({
  resolve(specifier, context, nextResolve) {
    if (/^\.{1,2}\/.*\.js$/.test(specifier) && context.parentURL?.endsWith('.ts')) {
      const source = new URL(specifier.replace(/\.js$/, '.ts'), context.parentURL);
      // jest loads a global setup with require, which takes paths, not URLs.
      const found = context.conditions.includes('require') ? fileURLToPath(source) : source.href;
      if (existsSync(source)) return nextResolve(found, context);
    }
    return nextResolve(specifier, { ...context, conditions: [...context.conditions, SOURCE] });
  },
  load(url, context, nextLoad) {
    if (!url.endsWith('.ts') || url.includes('/node_modules/')) return nextLoad(url, context);
    const filename = fileURLToPath(url);
    const { code } = transformSync(readFileSync(filename, 'utf8'), { filename, root, cwd: root });
    return { format: 'module', shortCircuit: true, source: code };
  },
});
