/** Loaded before the service (`node --import`): makes the mistake that SABOTAGE names as its code is loaded. */
import { registerHooks } from 'node:module';
import { BUILDS, MOVES, SUBMISSIONS, TRANSFERS } from './builds.mjs';

const name = process.env.SABOTAGE ?? '';
const build = { ...BUILDS, ...MOVES, ...SUBMISSIONS, ...TRANSFERS }[name];
if (!build) throw new Error(`no such sabotage: ${name}`);

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    const file = Object.keys(build).find((one) => url.endsWith(`/dist/src/${one}`));
    return file ? { ...loaded, source: edited(loaded.source.toString(), file) } : loaded;
  },
});

function edited(whole, file) {
  return build[file].reduce((source, [right, wrong]) => {
    const pieces = source.split(right);
    if (pieces.length !== 2)
      throw new Error(`"${name}": found ${pieces.length - 1} times in ${file}: ${right}`);
    return pieces.join(wrong);
  }, whole);
}
