/** Lists the licence of every package that comes with the service; fails for one that nobody has looked at. */
import { isAllowed, licencesOf, readProject } from './dependencies.mjs';

const licences = licencesOf(readProject().lockfile);
for (const { name, version, licence } of licences) console.log(`${licence.padEnd(14)} ${name} ${version}`);
const others = licences.filter(({ licence }) => !isAllowed(licence));
for (const { name, licence } of others)
  console.error(`not on the list of tools/checks/dependencies.mjs: ${name}, ${licence}`);
process.exitCode = others.length === 0 ? 0 : 1;
