/**
 * Makes sure that the programs which the tests run are installed, or those whose packages are given as arguments. On
 * Debian or Ubuntu, as root or with passwordless sudo, it installs missing ones; elsewhere it fails and says what to
 * type.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';

/** program → the Debian package that contains it */
const NEEDED = new Map([
  ['/usr/bin/chromium', 'chromium'],
  ['/usr/bin/redis-server', 'redis-server'],
  ['/usr/lib/rabbitmq/bin/rabbitmq-server', 'rabbitmq-server'],
  ['/usr/sbin/pgbouncer', 'pgbouncer'],
  ['/usr/bin/prometheus', 'prometheus'],
  ['/usr/bin/wrk', 'wrk'],
  ['/usr/lib/postgresql/*/bin/pgbench', 'postgresql'],
]);
const FOR_TESTS = ['chromium', 'redis-server', 'rabbitmq-server', 'pgbouncer', 'prometheus'];

/**
 * Debian starts the services of a package when it installs it. The tests start their own servers, so a policy forbids
 * this during the installation, unless the machine has a policy already.
 */
const INSTALL = `
policy=/usr/sbin/policy-rc.d
if ! [ -e $policy ]; then
  trap 'rm -f $policy' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\\nexit 101\\n' >$policy && chmod 755 $policy || exit
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && "$@"`;

const wanted = process.argv.length > 2 ? process.argv.slice(2) : FOR_TESTS;
const missing = [...NEEDED]
  .filter(([program, name]) => wanted.includes(name) && globSync(program).length === 0)
  .map(([, name]) => name);
if (missing.length > 0) install(missing);

function install(packages) {
  const names = packages.join(' ');
  const line = `apt-get install -y --no-install-recommends ${names}`;
  const asRoot = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
  if (existsSync('/usr/bin/apt-get') && succeeds([...asRoot, 'true'])) {
    console.error(`Missing: ${names}. Installing.`);
    if (succeeds([...asRoot, '/bin/sh', '-c', INSTALL, 'sh', ...line.split(' ')])) return;
  }
  console.error(`Missing: ${names}. Install it, for instance with:\n\n  sudo ${line}\n`);
  process.exit(1);
}

function succeeds([program, ...args]) {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0;
}
