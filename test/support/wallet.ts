import { generateKey } from '../../src/access/api-key.js';
import { SCOPES, type Scope } from '../../src/access/principal.js';
import { createKey, revokeKey, type KeyCreated, type KeyRequest } from '../../src/cli/keys.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { bearer } from './credentials.js';
import { IdentityProvider } from './identity-provider.js';
import { query } from './postgres.js';

/** All that a sender may be allowed who is no administrator. */
export const ORDINARY: readonly Scope[] = SCOPES.filter((scope) => scope !== 'admin');

type Wanted = Partial<Pick<KeyRequest, 'scopes' | 'owner'>>;

/** Credentials of a bank, of every kind, good and bad. */
export class Wallet {
  /** Settings of a service that takes them. */
  readonly settings: Readonly<Record<string, string>> = { AUTH: 'on' };

  constructor(protected readonly shards: readonly ShardAddress[]) {}

  /** Of a bank of one shard. */
  static of(databaseUrl: string): Wallet {
    return new Wallet(shardAt(databaseUrl));
  }

  /** @param wanted without scopes: all ordinary ones; without an owner: of a service that sees all accounts */
  async key(wanted: Wanted = {}): Promise<string> {
    return (await this.create(wanted)).key;
  }

  async revokedKey(wanted: Wanted = {}): Promise<string> {
    const { key, keyId } = await this.create(wanted);
    await revokeKey(this.shards, keyId);
    return key;
  }

  async expiredKey(wanted: Wanted = {}): Promise<string> {
    const { key, keyId } = await this.create(wanted);
    const [{ url, schema } = { url: '', schema: '' }] = this.shards;
    await query(
      url,
      `UPDATE ${schema}.api_keys SET expires_at = now() - interval '1 second' WHERE key_id = $1`,
      [keyId],
    );
    return key;
  }

  /** Well formed, but no key of this bank. */
  unknownKey(): string {
    return generateKey();
  }

  /** The headers with which each of some owners sends its requests; for undefined, those of a service. */
  async senders(owners: readonly string[]): Promise<(owner: string | undefined) => Record<string, string>> {
    const headers = new Map<string | undefined, Record<string, string>>();
    for (const owner of [undefined, ...owners]) headers.set(owner, bearer(await this.key({ owner })));
    return (owner) => headers.get(owner) ?? {};
  }

  private create(wanted: Wanted): Promise<KeyCreated> {
    return createKey(this.shards, { name: 'test', scopes: ORDINARY, ...wanted });
  }
}

/** The same, and tokens of an identity provider of its own. */
export class WalletWithTokens extends Wallet {
  override readonly settings: Readonly<Record<string, string>>;

  private constructor(
    shards: readonly ShardAddress[],
    readonly provider: IdentityProvider,
  ) {
    super(shards);
    const { issuer, audience, jwksUrl } = provider;
    this.settings = {
      AUTH: 'on',
      JWT_ISSUER: issuer,
      JWT_AUDIENCE: audience,
      JWT_JWKS_URL: jwksUrl,
    };
  }

  /** For a bank of one shard. */
  static async open(databaseUrl: string): Promise<WalletWithTokens> {
    return new WalletWithTokens(shardAt(databaseUrl), await IdentityProvider.start());
  }

  /** Of a user who may do all that is ordinary. */
  token(user: string): Promise<string> {
    return this.provider.token(user, ORDINARY);
  }

  close(): Promise<void> {
    return this.provider.stop();
  }
}

const shardAt = (url: string): ShardAddress[] => [{ url, schema: 'bank' }];
