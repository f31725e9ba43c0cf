import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { createKey } from '../../src/admin/keys.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { startPostgres } from '../stack/servers/postgres.js';
import { ALL, checkBooks, foundBank } from './bank.js';
import type { Figures, Goal, Rounds } from './figures.js';
import { databaseMeters, serviceMeter, type Meters } from './meters.js';
import { withService, wrk } from './tools.js';

const WARM_UP_SECONDS = 3;
/** Before each measurement of a sender: the owners of accounts are forgotten while the others have their turn. */
const RECALL_SECONDS = 2;
const OWNER = 'ada';
const AUDIENCE = 'bank';

const WITH = ['a key', 'a key with an owner', 'a token'] as const;

/** The cost of identifying the sender, and of checking that the account is theirs. */
const ACCESS_GOALS: readonly Goal[] = ['POST', 'GET balance'].flatMap((what) =>
  WITH.map((credential) => ({ figure: `${what}, ${credential}`, base: what, least: 0.9, aim: 0.95 })),
);

interface Sender {
  readonly url: string;
  readonly meters: Meters;
  /** The suffix of the figures' names. */
  readonly name: string;
  readonly credential?: string;
}

/**
 * A service that requires credentials and one that does not, in turn within each round. Each has a bank of its own: on
 * the same bank, one would publish the other's events.
 */
export async function measureAccess(
  seconds: number,
  figures: Figures,
  rounds: Rounds,
): Promise<readonly Goal[]> {
  const postgres = await startPostgres();
  const provider = await Provider.start();
  const banks = ['open', 'guarded'].map((schema): ShardAddress[] => [{ url: postgres.url, schema }]);
  const shards = banks[1] as ShardAddress[];
  try {
    for (const bank of banks) await foundBank(bank, { owner: OWNER });
    const scopes = ['accounts:read', 'deposits:write', 'withdrawals:write'] as const;
    const [all, owned] = await Promise.all([
      createKey(shards, { name: 'bench', scopes }),
      createKey(shards, { name: 'bench', scopes, owner: OWNER }),
    ]);
    const token = await provider.token(scopes.join(' '));
    const bank = { DATABASE_URL: postgres.url, BALANCE_CACHE: 'on' };
    await withService({ ...bank, DATABASE_SCHEMA: 'open', AUTH: 'off' }, (open) =>
      withService(
        { ...bank, ...provider.settings, DATABASE_SCHEMA: 'guarded', AUTH: 'on' },
        async (guarded) => {
          const database = await databaseMeters(postgres.url);
          const [toOpen, toGuarded] = [open, guarded].map(({ url, pid }) => ({
            url,
            meters: { ...serviceMeter(pid), ...database },
          })) as [Omit<Sender, 'name'>, Omit<Sender, 'name'>];
          const senders: Sender[] = [
            { ...toOpen, name: '' },
            { ...toGuarded, name: ', a key', credential: all.key },
            { ...toGuarded, name: ', a key with an owner', credential: owned.key },
            { ...toGuarded, name: ', a token', credential: token },
          ];
          for (const sender of senders) await measureSender(sender, WARM_UP_SECONDS);
          await rounds(async () => {
            for (const sender of senders) await measureSender(sender, seconds, figures);
          });
        },
      ),
    );
    for (const bank of banks) await checkBooks(bank);
    return ACCESS_GOALS;
  } finally {
    provider.stop();
    await postgres.stop();
  }
}

/** @param figures undefined: a warm-up */
async function measureSender(
  { url, meters, name, credential }: Sender,
  seconds: number,
  figures?: Figures,
): Promise<void> {
  const run = { url, seconds, accounts: ALL, credential };
  await wrk({ ...run, script: 'get.lua', seconds: RECALL_SECONDS });
  for (const [what, script] of [
    ['POST', 'post.lua'],
    ['GET balance', 'get.lua'],
  ] as const) {
    const load = () => wrk({ ...run, script });
    await (figures ? figures.noteLoad(what + name, meters, load) : load());
  }
}

/** Makes tokens, and serves its key to anyone who asks. */
class Provider {
  private constructor(
    private readonly server: Server,
    private readonly sign: (claims: Record<string, unknown>) => Promise<string>,
  ) {}

  static async start(): Promise<Provider> {
    const { privateKey, publicKey } = await generateKeyPair('ES256');
    const keys = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'bench', alg: 'ES256' }] });
    const server = createServer((_request, response) => response.end(keys)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Provider(server, (claims) =>
      new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: 'bench' }).sign(privateKey),
    );
  }

  get settings() {
    const issuer = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
    return { JWT_ISSUER: issuer, JWT_AUDIENCE: AUDIENCE, JWT_JWKS_URL: issuer };
  }

  token(scope: string): Promise<string> {
    const exp = Math.floor(Date.now() / 1_000) + 86_400;
    return this.sign({ iss: this.settings.JWT_ISSUER, aud: AUDIENCE, sub: OWNER, scope, exp });
  }

  stop(): void {
    this.server.close();
  }
}
