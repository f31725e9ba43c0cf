/** Fails unless package-lock.json pins exactly what is installed, all of it from the registry. */
import { lockfileProblems, readProject } from './dependencies.mjs';

const problems = lockfileProblems(readProject());
for (const problem of problems) console.error(problem);
process.exitCode = problems.length === 0 ? 0 : 1;
