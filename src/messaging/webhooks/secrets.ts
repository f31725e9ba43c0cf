import { createCipheriv, createDecipheriv, hash, randomBytes } from 'node:crypto';
import { link, open, readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { codeOf } from '../../domain/error-message.js';
import type { Config } from '../../config/config.js';
import { isSecretKey } from '../../config/values.js';

/** As Standard Webhooks has it. */
export const SECRET_PREFIX = 'whsec_';
const SECRET_BYTES = 32;

const CIPHER = 'aes-256-gcm';
/** What is encrypted with a key for another purpose is none of these secrets. */
const PURPOSE = Buffer.from('secret of a webhook');
/** Tells which key decrypts it. */
const KEY_ID_BYTES = 4;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** A new secret that endpoints verify signatures with: `whsec_` and 256 random bits in base64. */
export const newSecret = (): string => SECRET_PREFIX + randomBytes(SECRET_BYTES).toString('base64');

interface EncryptionKey {
  readonly id: Buffer;
  readonly bytes: Buffer;
}

/** Encrypts the secrets of endpoints for the database, with keys that are not in it. */
export class WebhookSecrets {
  private readonly configured: readonly EncryptionKey[];
  private ofFile: EncryptionKey | undefined;

  constructor(private readonly settings: Pick<Config['webhooks'], 'keys' | 'keyFile'>) {
    this.configured = settings.keys.map(keyFrom);
  }

  /** Whether secrets can be encrypted at all. */
  get configurable(): boolean {
    return this.configured.length > 0 || this.settings.keyFile !== undefined;
  }

  /**
   * The key's id, a nonce, the encrypted secret and its tag. Makes the key of the file if there is none.
   *
   * @throws Error when there is no key, or its file can't be read or made
   */
  async encrypt(secret: string): Promise<Buffer> {
    const key = this.configured[0] ?? (await this.keyOfFile(true));
    if (!key) throw new Error('there is no key for the secrets of webhooks');
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, key.bytes, nonce).setAAD(PURPOSE);
    return Buffer.concat([key.id, nonce, cipher.update(secret, 'utf8'), cipher.final(), cipher.getAuthTag()]);
  }

  /** @returns undefined: its key is not there or can't be read, or it was changed */
  async decrypt(encrypted: Buffer): Promise<string | undefined> {
    const [id, nonce, text, tag] = partsOf(encrypted);
    const key = await this.keyNamed(id).catch(() => undefined);
    if (!key || tag.length < TAG_BYTES) return undefined;
    const decipher = createDecipheriv(CIPHER, key.bytes, nonce, { authTagLength: TAG_BYTES });
    try {
      decipher.setAAD(PURPOSE).setAuthTag(tag);
      return decipher.update(text, undefined, 'utf8') + decipher.final('utf8');
    } catch {
      return undefined;
    }
  }

  private async keyNamed(id: Buffer): Promise<EncryptionKey | undefined> {
    const key = this.configured.find((each) => each.id.equals(id));
    if (key) return key;
    const ofFile = await this.keyOfFile(false);
    return ofFile?.id.equals(id) ? ofFile : undefined;
  }

  private async keyOfFile(make: boolean): Promise<EncryptionKey | undefined> {
    const { keyFile } = this.settings;
    if (keyFile === undefined) return undefined;
    this.ofFile ??= (await readKey(keyFile)) ?? (make ? await makeKey(keyFile) : undefined);
    return this.ofFile;
  }
}

function partsOf(encrypted: Buffer): [id: Buffer, nonce: Buffer, text: Buffer, tag: Buffer] {
  const [textAt, tagAt] = [KEY_ID_BYTES + NONCE_BYTES, encrypted.length - TAG_BYTES];
  return [
    encrypted.subarray(0, KEY_ID_BYTES),
    encrypted.subarray(KEY_ID_BYTES, textAt),
    encrypted.subarray(textAt, tagAt),
    encrypted.subarray(Math.max(textAt, tagAt)),
  ];
}

function keyFrom(base64: string): EncryptionKey {
  const bytes = Buffer.from(base64, 'base64');
  return { id: hash('sha256', bytes, 'buffer').subarray(0, KEY_ID_BYTES), bytes };
}

/** @returns undefined: there is no such file */
async function readKey(file: string): Promise<EncryptionKey | undefined> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  if (!isSecretKey(text.trim())) throw new Error(`${file} holds no key of 32 bytes in base64`);
  return keyFrom(text.trim());
}

/** On disk before a secret depends on it. Of several processes that make it, one does. */
async function makeKey(file: string): Promise<EncryptionKey | undefined> {
  const complete = `${file}.${randomBytes(6).toString('hex')}`;
  await writeDurably(complete, `${randomBytes(SECRET_BYTES).toString('base64')}\n`);
  await link(complete, file).catch((error: unknown) => {
    if (codeOf(error) !== 'EEXIST') throw error;
  });
  await rm(complete);
  const folder = await open(dirname(file));
  await folder.sync();
  await folder.close();
  return readKey(file);
}

async function writeDurably(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}
