/**
 * Lists the licence of every package that is shipped with the service. Fails for one that is not on the allowed list.
 */
import { isAllowed, licencesOf, readProject } from './dependencies.mjs';

const licences = licencesOf(readProject().lockfile);
for (const { name, version, licence } of licences) console.log(`${licence.padEnd(14)} ${name} ${version}`);
const others = licences.filter(({ licence }) => !isAllowed(licence));
for (const { name, licence } of others)
  console.error(`not on the list of tools/checks/dependencies.mjs: ${name}, ${licence}`);
process.exitCode = others.length === 0 ? 0 : 1;
