/**
 * Makes sure that the programs which the tests run for real are there. Where it may (Debian or Ubuntu, as root or with
 * sudo that asks for no password) it installs what is missing; elsewhere it fails and says what to type.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** program → the Debian package that brings it */
const NEEDED = new Map([['/usr/bin/chromium', 'chromium']]);

const missing = [...NEEDED].filter(([program]) => !existsSync(program)).map(([, name]) => name);
if (missing.length > 0) install(missing);

function install(packages) {
  const line = `apt-get install -y --no-install-recommends ${packages.join(' ')}`;
  const asRoot = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
  const canInstall = existsSync('/usr/bin/apt-get') && succeeds([...asRoot, 'true']);
  if (canInstall) {
    console.error(`The tests need ${packages.join(', ')}: installing.`);
    const env = [...asRoot, 'env', 'DEBIAN_FRONTEND=noninteractive'];
    const done =
      succeeds([...env, 'apt-get', 'update', '-qq'], 'ignore') &&
      succeeds([...env, ...line.split(' ')], 'ignore');
    if (done) return;
  }
  console.error(`The tests need ${packages.join(', ')}. Install it, for instance with:\n\n  sudo ${line}\n`);
  process.exit(1);
}

function succeeds([program, ...args], stdio = 'ignore') {
  if (program === undefined) return true;
  return spawnSync(program, args, { stdio }).status === 0;
}
