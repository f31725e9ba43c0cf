import { recordAct } from '../audit/audit-log.js';
import { generateKey, hashOfKey, hintOf } from '../access/api-key.js';
import { SCOPES_VERSION, type Scope } from '../access/principal.js';
import type { ShardAddress } from '../config/shard-address.js';
import { CommandError } from '../app/user-message.js';
import { printable } from './printable.js';
import { inFirstShard, withSessions, type ShardSession } from './shard-sessions.js';

export interface KeyRequest {
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly owner?: string;
  readonly expires?: Date;
}

export interface KeyCreated {
  readonly keyId: number;
  /** The one time that it is to be seen. */
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

/** What the names of its scopes meant when a key was made. A key that replaces it keeps that. */
interface ScopesVersion {
  readonly scopesVersion: number;
}

const COLUMNS = `key_id::float8 AS "keyId", name, hint, scopes, owner, created_at AS "createdAt",
  expires_at AS "expiresAt", revoked_at AS "revokedAt", last_used_at AS "lastUsedAt"`;

/** @throws CommandError for what no key can be */
export async function createKey(shards: readonly ShardAddress[], request: KeyRequest): Promise<KeyCreated> {
  if (request.owner !== undefined && request.scopes.includes('admin')) {
    throw new CommandError('a key with the scope admin sees every account, so it can have no owner');
  }
  if (request.expires && request.expires.getTime() <= Date.now()) {
    throw new CommandError('the key would have expired already');
  }
  return inFirstShard(shards, 'bank-keys', async (session) => {
    const created = await insert(session, { ...request, scopesVersion: SCOPES_VERSION });
    const { name, scopes, owner, expires } = request;
    await act(session, 'key.created', { key: created.keyId, name, scopes, owner, expires });
    return created;
  });
}

/** By id, the oldest first; the revoked and the expired ones are shown, too. */
export async function listKeys(shards: readonly ShardAddress[]): Promise<KeyListed[]> {
  return withSessions(shards.slice(0, 1), 'bank-keys', async ([session]) => {
    const { client, tables } = session as ShardSession;
    const { rows } = await client.query<KeyListed>(
      `SELECT ${COLUMNS} FROM ${tables.apiKeys} ORDER BY key_id`,
    );
    return rows;
  });
}

/** @throws CommandError when there is no such key, or it was revoked before */
export async function revokeKey(shards: readonly ShardAddress[], keyId: number): Promise<KeyListed> {
  return inFirstShard(shards, 'bank-keys', async (session) => {
    const key = await lock(session, keyId);
    const { client, tables } = session;
    await client.query(`UPDATE ${tables.apiKeys} SET revoked_at = now() WHERE key_id = $1`, [keyId]);
    await act(session, 'key.revoked', { key: keyId, name: key.name });
    return key;
  });
}

export interface RotateRequest {
  /** How long the old key stays good beside the new one. */
  readonly overlapMs: number;
  /** Of the new key; without it, when the old one would have ended. */
  readonly expires?: Date;
}

/**
 * Replaces a key by a new one with the same name, scopes, owner and, unless another is given, expiry. The old key expires
 * after the overlap, or when it would have anyway.
 *
 * @throws CommandError when there is no such key, it is no longer valid, or it was rotated before
 */
export async function rotateKey(
  shards: readonly ShardAddress[],
  keyId: number,
  { overlapMs, expires }: RotateRequest,
): Promise<KeyCreated> {
  return inFirstShard(shards, 'bank-keys', async (session) => {
    const { name, scopes, scopesVersion, owner, expiresAt } = await lock(session, keyId);
    const now = Date.now();
    if (expiresAt && expiresAt.getTime() <= now) throw new CommandError(`key ${keyId} has expired already`);
    await refuseRotated(session, keyId);
    const newExpires = expires ?? expiresAt ?? undefined;
    const created = await insert(session, {
      name,
      scopes: scopes as Scope[],
      scopesVersion,
      owner: owner ?? undefined,
      expires: newExpires,
    });
    const ends = new Date(Math.min(now + overlapMs, expiresAt?.getTime() ?? Infinity));
    const { client, tables } = session;
    await client.query(`UPDATE ${tables.apiKeys} SET expires_at = $2 WHERE key_id = $1`, [keyId, ends]);
    await act(session, 'key.rotated', {
      key: keyId,
      name,
      by: created.keyId,
      until: ends,
      expires: newExpires,
    });
    return created;
  });
}

async function insert(
  { client, tables }: ShardSession,
  { name, scopes, scopesVersion, owner, expires }: KeyRequest & ScopesVersion,
): Promise<KeyCreated> {
  const key = generateKey();
  const { rows } = await client.query<{ keyId: number }>(
    `INSERT INTO ${tables.apiKeys} (name, hint, hash, scopes, owner, expires_at, scopes_version)
     VALUES ($1, $2, decode($3, 'hex'), $4, $5, $6, $7) RETURNING key_id::float8 AS "keyId"`,
    [name, hintOf(key), hashOfKey(key), scopes, owner ?? null, expires ?? null, scopesVersion],
  );
  return { keyId: (rows as [{ keyId: number }])[0].keyId, key };
}

async function lock({ client, tables }: ShardSession, keyId: number): Promise<KeyListed & ScopesVersion> {
  const { rows } = await client.query<KeyListed & ScopesVersion>(
    `SELECT ${COLUMNS}, scopes_version AS "scopesVersion" FROM ${tables.apiKeys} WHERE key_id = $1 FOR UPDATE`,
    [keyId],
  );
  const [key] = rows;
  if (!key) throw new CommandError(`there is no key ${keyId}`);
  if (key.revokedAt) throw new CommandError(`key ${keyId} was revoked at ${key.revokedAt.toISOString()}`);
  return key;
}

/** A rotated key expires with its overlap, and its successor must not inherit that expiry. */
async function refuseRotated({ client, tables }: ShardSession, keyId: number): Promise<void> {
  const { rows } = await client.query<{ by: number }>(
    `SELECT (details::json ->> 'by')::float8 AS by FROM ${tables.auditEvents}
     WHERE action = 'key.rotated' AND (details::json ->> 'key')::float8 = $1 LIMIT 1`,
    [keyId],
  );
  const [rotated] = rows;
  if (rotated)
    throw new CommandError(`key ${keyId} was rotated before: rotate key ${rotated.by}, which replaced it`);
}

async function act(
  { client, address }: ShardSession,
  action: string,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  await recordAct(client, address.schema, { action, details });
}

/** A note for people, on the standard error: the standard output holds the key and nothing else, for scripts. */
export function createdText({ keyId }: KeyCreated): string {
  return `This is key ${keyId}. It is shown this once: the bank does not know it.`;
}

export function keysText(keys: readonly KeyListed[], nowMs = Date.now()): string {
  if (keys.length === 0) return 'There are no keys.';
  const rows = keys.map((key) => [
    String(key.keyId),
    printable(key.name),
    printable(key.hint),
    printable(key.scopes.join(',')),
    printable(key.owner ?? '(all accounts)'),
    stateOf(key, nowMs),
    key.lastUsedAt ? `used ${key.lastUsedAt.toISOString()}` : 'never used',
  ]);
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function stateOf({ revokedAt, expiresAt }: KeyListed, nowMs: number): string {
  if (revokedAt) return `revoked ${revokedAt.toISOString()}`;
  if (!expiresAt) return 'good';
  return `${expiresAt.getTime() <= nowMs ? 'expired' : 'good until'} ${expiresAt.toISOString()}`;
}
