import { generateKey } from '../../src/access/api-key.js';
import { isBankScope, SCOPES, type Scope } from '../../src/access/principal.js';
import { createKey, revokeKey, type KeyCreated, type KeyRequest } from '../../src/admin/keys.js';
import type { ShardAddress } from '../../src/config/shard-address.js';
import { bearer } from './credentials.js';
import { IdentityProvider } from './identity-provider.js';
import { query } from './postgres.js';

/** All scopes that a sender who is not an administrator may have. */
export const ORDINARY: readonly Scope[] = SCOPES.filter((scope) => scope !== 'admin');

/** Those that a sender with an owner may have. */
export const OF_OWNERS: readonly Scope[] = ORDINARY.filter((scope) => !isBankScope(scope));

type Wanted = Partial<Pick<KeyRequest, 'scopes' | 'owner'>>;

/** Valid and invalid credentials of every kind for a bank. */
export class Wallet {
  /** The settings of a service that accepts them. */
  readonly settings: Readonly<Record<string, string>> = { AUTH: 'on' };

  constructor(protected readonly shards: readonly ShardAddress[]) {}

  /** Of a bank of one shard. */
  static of(databaseUrl: string): Wallet {
    return new Wallet(shardAt(databaseUrl));
  }

  /** @param wanted without scopes: all that it may have; without an owner: for a service that sees all accounts */
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

  /** A well-formed key that this bank does not have. */
  unknownKey(): string {
    return generateKey();
  }

  /** The headers of the requests of each owner; undefined: of a service that sees all accounts. */
  async senders(owners: readonly string[]): Promise<(owner: string | undefined) => Record<string, string>> {
    const headers = new Map<string | undefined, Record<string, string>>();
    for (const owner of [undefined, ...owners]) headers.set(owner, bearer(await this.key({ owner })));
    return (owner) => headers.get(owner) ?? {};
  }

  private create(wanted: Wanted): Promise<KeyCreated> {
    const scopes = wanted.owner === undefined ? ORDINARY : OF_OWNERS;
    return createKey(this.shards, { name: 'test', scopes, ...wanted });
  }
}

/** The same, plus tokens from an identity provider of its own. */
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

  /** The token of a user with all ordinary scopes. */
  token(user: string): Promise<string> {
    return this.provider.token(user, ORDINARY);
  }

  close(): Promise<void> {
    return this.provider.stop();
  }
}

const shardAt = (url: string): ShardAddress[] => [{ url, schema: 'bank' }];
