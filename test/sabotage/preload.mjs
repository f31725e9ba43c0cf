/** Loaded before the service (`node --import`): makes the mistake that SABOTAGE names as its code is loaded. */
import { registerHooks } from 'node:module';
import { BUILDS } from './builds.mjs';

const name = process.env.SABOTAGE ?? '';
const build = BUILDS[name];
if (!build) throw new Error(`no such sabotage: ${name}`);

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (!url.endsWith(`/dist/src/${build.file}`)) return loaded;
    return { ...loaded, source: build.edits.reduce(edited, loaded.source.toString()) };
  },
});

function edited(source, [right, wrong]) {
  const pieces = source.split(right);
  if (pieces.length !== 2)
    throw new Error(`"${name}": found ${pieces.length - 1} times in ${build.file}: ${right}`);
  return pieces.join(wrong);
}
