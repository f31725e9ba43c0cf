import type { EntityManager } from 'typeorm';
import { recordAct } from '../audit/audit-log.js';
import { generateKey, hashOfKey, hintOf } from '../access/api-key.js';
import { isBankScope, SCOPES_VERSION, type Scope } from '../access/principal.js';
import { ApiKeyEntity } from '../storage/entities/api-key.entity.js';
import { AuditEventEntity } from '../storage/entities/audit-event.entity.js';
import type { ShardAddress } from '../config/shard-address.js';
import { CommandError } from './command-error.js';
import { inFirstShard } from './shards.js';

const NAME = 'bank-keys';

export interface KeyRequest {
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly owner?: string;
  readonly expires?: Date;
}

export interface KeyCreated {
  readonly keyId: number;
  /** The key itself, which is shown only this once. */
  readonly key: string;
}

export interface KeyListed {
  readonly keyId: number;
  readonly name: string;
  readonly hint: string;
  readonly scopes: readonly string[];
  readonly owner: string | null;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly revokedAt: Date | null;
  readonly lastUsedAt: Date | null;
}

/** @throws CommandError when the request is invalid */
export async function createKey(shards: readonly ShardAddress[], request: KeyRequest): Promise<KeyCreated> {
  const { name, scopes, owner, expires } = request;
  if (owner !== undefined && scopes.includes('admin')) {
    throw new CommandError('a key with the scope admin sees every account, so it can have no owner');
  }
  const ofBank = scopes.find(isBankScope);
  if (owner !== undefined && ofBank !== undefined) {
    throw new CommandError(
      `a key with an owner can't have the scope ${ofBank}: statuses and limits are for the bank to set`,
    );
  }
  if (expires && expires.getTime() <= Date.now())
    throw new CommandError('the key would have expired already');
  return inFirstShard(shards, NAME, async (manager, { client, address }) => {
    const created = await insert(manager, {
      ...{ name, scopes: [...scopes], scopesVersion: SCOPES_VERSION },
      ...{ owner: owner ?? null, expiresAt: expires ?? null },
    });
    const details = { key: created.keyId, name, scopes, owner, expires };
    await recordAct(client, address.schema, { action: 'key.created', details });
    return created;
  });
}

/** By id, oldest first, including revoked and expired keys. */
export async function listKeys(shards: readonly ShardAddress[]): Promise<KeyListed[]> {
  return inFirstShard(shards, NAME, async (manager) =>
    (await manager.find(ApiKeyEntity, { order: { keyId: 'ASC' } })).map(listed),
  );
}

/** @throws CommandError when there is no such key, or it has been revoked before */
export async function revokeKey(shards: readonly ShardAddress[], keyId: number): Promise<KeyListed> {
  return inFirstShard(shards, NAME, async (manager, { client, address }) => {
    const key = await lock(manager, keyId);
    await manager.update(ApiKeyEntity, { keyId }, { revokedAt: () => 'now()' });
    const details = { key: keyId, name: key.name };
    await recordAct(client, address.schema, { action: 'key.revoked', details });
    return listed(key);
  });
}

export interface RotateRequest {
  /** How long the old key stays valid alongside the new one. */
  readonly overlapMs: number;
  /** When the new key expires; by default when the old one would have. */
  readonly expires?: Date;
}

/**
 * Replaces a key with a new one that has the same name, scopes, owner and, unless another is given, expiry. The old key
 * expires after the overlap, or earlier if it would have anyway.
 *
 * @throws CommandError when there is no such key, it is no longer valid, or it was rotated before
 */
export async function rotateKey(
  shards: readonly ShardAddress[],
  keyId: number,
  { overlapMs, expires }: RotateRequest,
): Promise<KeyCreated> {
  return inFirstShard(shards, NAME, async (manager, { client, address }) => {
    const old = await lock(manager, keyId);
    const { name, scopes, scopesVersion, owner, expiresAt } = old;
    const now = Date.now();
    if (expiresAt && expiresAt.getTime() <= now) throw new CommandError(`key ${keyId} has expired already`);
    await refuseRotated(manager, keyId);
    const newExpires = expires ?? expiresAt;
    // The new key's scopes mean what they meant when the old key was made.
    const created = await insert(manager, { name, scopes, scopesVersion, owner, expiresAt: newExpires });
    const ends = new Date(Math.min(now + overlapMs, expiresAt?.getTime() ?? Infinity));
    await manager.update(ApiKeyEntity, { keyId }, { expiresAt: ends });
    const details = { key: keyId, name, by: created.keyId, until: ends, expires: newExpires ?? undefined };
    await recordAct(client, address.schema, { action: 'key.rotated', details });
    return created;
  });
}

type NewKey = Pick<ApiKeyEntity, 'name' | 'scopes' | 'scopesVersion' | 'owner' | 'expiresAt'>;

async function insert(manager: EntityManager, described: NewKey): Promise<KeyCreated> {
  const key = generateKey();
  const row = { ...described, hint: hintOf(key), hash: Buffer.from(hashOfKey(key), 'hex') };
  const { identifiers } = await manager.insert(ApiKeyEntity, row);
  return { keyId: Number(identifiers[0]?.['keyId']), key };
}

async function lock(manager: EntityManager, keyId: number): Promise<ApiKeyEntity> {
  const key = await manager.findOne(ApiKeyEntity, {
    where: { keyId },
    lock: { mode: 'pessimistic_write' },
  });
  if (!key) throw new CommandError(`there is no key ${keyId}`);
  if (key.revokedAt) throw new CommandError(`key ${keyId} was revoked at ${key.revokedAt.toISOString()}`);
  return key;
}

/** A rotated key expires after its overlap, and a successor must not inherit that expiry. */
async function refuseRotated(manager: EntityManager, keyId: number): Promise<void> {
  const rotations = await manager.findBy(AuditEventEntity, { action: 'key.rotated' });
  const rotated = rotations
    .map(({ details }) => JSON.parse(details) as { readonly key: unknown; readonly by: unknown } | null)
    .find((rotation) => Number(rotation?.key) === keyId);
  if (!rotated) return;
  throw new CommandError(
    `key ${keyId} was rotated before: rotate key ${Number(rotated.by)}, which replaced it`,
  );
}

function listed(key: ApiKeyEntity): KeyListed {
  const { keyId, name, hint, scopes, owner, createdAt, expiresAt, revokedAt, lastUsedAt } = key;
  return { keyId, name, hint, scopes, owner, createdAt, expiresAt, revokedAt, lastUsedAt };
}
