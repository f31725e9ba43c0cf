import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { newSecret, WebhookSecrets } from './secrets.js';

const key = () => randomBytes(32).toString('base64');
const secretsWith = (...keys: string[]) => new WebhookSecrets({ keys, keyFile: undefined });

const SECRET = newSecret();

describe('the secret of a webhook', () => {
  it('has the form of Standard Webhooks, and is another one each time', () => {
    expect(SECRET).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect(newSecret()).not.toBe(SECRET);
  });

  it('is encrypted, each time differently, and decrypted by the same key', async () => {
    const secrets = secretsWith(key());
    const [one, other] = [await secrets.encrypt(SECRET), await secrets.encrypt(SECRET)];
    expect(one.equals(other)).toBe(false);
    expect(one.includes(SECRET)).toBe(false);
    expect(one.includes(Buffer.from(SECRET.slice(6), 'base64'))).toBe(false);
    expect(await secrets.decrypt(one)).toBe(SECRET);
    expect(await secrets.decrypt(other)).toBe(SECRET);
  });

  it('is encrypted by the first key and decrypted by any, so that a key can be replaced', async () => {
    const [former, next] = [key(), key()];
    const encrypted = await secretsWith(former).encrypt(SECRET);
    const both = secretsWith(next, former);
    expect(await both.decrypt(encrypted)).toBe(SECRET);
    expect(await secretsWith(next).decrypt(await both.encrypt(SECRET))).toBe(SECRET);
  });

  it('is not decrypted by another key, or by none', async () => {
    const encrypted = await secretsWith(key()).encrypt(SECRET);
    expect(await secretsWith(key()).decrypt(encrypted)).toBeUndefined();
    expect(await secretsWith().decrypt(encrypted)).toBeUndefined();
    await expect(secretsWith().encrypt(SECRET)).rejects.toThrow('there is no key');
  });

  it('is not decrypted with any byte changed, or any byte of its end cut off', async () => {
    const secrets = secretsWith(key());
    const encrypted = await secrets.encrypt(SECRET);
    for (let at = 0; at < encrypted.length; at++) {
      const changed = Buffer.from(encrypted);
      changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
      expect(await secrets.decrypt(changed)).toBeUndefined();
      expect(await secrets.decrypt(encrypted.subarray(0, at))).toBeUndefined();
    }
  });
});

describe('the key of the embedded bank', () => {
  let folder: string;
  let keyFile: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'webhook-key-'));
    keyFile = join(folder, 'webhook-key');
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const ofFile = (...keys: string[]) => new WebhookSecrets({ keys, keyFile });

  it('is made once, when it is first needed, even by several processes, and readable for its user alone', async () => {
    expect(await ofFile().decrypt(randomBytes(95))).toBeUndefined();
    expect(readdirSync(folder)).toEqual([]);
    const encrypted = await Promise.all(Array.from({ length: 8 }, () => ofFile().encrypt(SECRET)));
    for (const each of encrypted) expect(await ofFile().decrypt(each)).toBe(SECRET);
    expect(readdirSync(folder)).toEqual(['webhook-key']);
    expect(statSync(keyFile).mode & 0o777).toBe(0o600);
    expect(readFileSync(keyFile, 'utf8')).toMatch(/^[A-Za-z0-9+/]{43}=\n$/);
  });

  it('still decrypts where keys are configured', async () => {
    const encrypted = await ofFile().encrypt(SECRET);
    const configured = ofFile(key());
    expect(await configured.decrypt(encrypted)).toBe(SECRET);
    expect(await ofFile().decrypt(await configured.encrypt(SECRET))).toBeUndefined();
  });

  it('is found by a process that has started without it', async () => {
    rmSync(keyFile);
    const [early, maker] = [ofFile(), ofFile()];
    expect(await early.decrypt(randomBytes(95))).toBeUndefined();
    expect(await early.decrypt(await maker.encrypt(SECRET))).toBe(SECRET);
  });

  it.each(['', 'short', 'x'.repeat(44)])('%j is none', async (text) => {
    writeFileSync(keyFile, text);
    await expect(ofFile().encrypt(SECRET)).rejects.toThrow('webhook-key holds no key');
  });
});
