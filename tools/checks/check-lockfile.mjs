/** Fails unless package-lock.json names exactly what is installed, from nowhere but the registry. */
import { lockfileProblems, readProject } from './dependencies.mjs';

const problems = lockfileProblems(readProject());
for (const problem of problems) console.error(problem);
process.exitCode = problems.length === 0 ? 0 : 1;
