import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import type { SecureContextOptions } from 'node:tls';
import { ConfigError, type Config } from '../../config/config.js';

/**
 * The suites of TLS 1.3, and those of TLS 1.2 that have forward secrecy and authenticated encryption (RFC 9325, 4.2).
 */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/** Permission bits of a file for users other than its owner and its group. */
const OTHERS = 0o007;

/** What is wrong with the key file; undefined: nothing, or there is none. */
export function keyFileProblem({ tls }: Config['http']): string | undefined {
  if (!tls || (statSync(tls.keyFile).mode & OTHERS) === 0) return undefined;
  return 'every user of this machine may read or change the file that TLS_KEY_FILE names: chmod o-rwx';
}

/**
 * The certificate and the key of the service; undefined where it has no TLS.
 *
 * @throws ConfigError naming the variable; it shows nothing of what the files hold
 */
export function readTls({ tls }: Config['http']): SecureContextOptions | undefined {
  if (!tls) return undefined;
  const cert = readPem('TLS_CERT_FILE', tls.certFile);
  const key = readPem('TLS_KEY_FILE', tls.keyFile);
  if (!parsed('TLS_CERT_FILE', 'a certificate', () => certificateIn(cert)).checkPrivateKey(keyIn(key))) {
    throw new ConfigError(['TLS_KEY_FILE is not the key of the certificate in TLS_CERT_FILE']);
  }
  return { cert, key, minVersion: 'TLSv1.2', ciphers: CIPHERS };
}

function certificateIn(pem: Buffer): X509Certificate {
  return new X509Certificate(pem);
}

function keyIn(pem: Buffer): KeyObject {
  return parsed('TLS_KEY_FILE', 'a private key without a passphrase', () => createPrivateKey(pem));
}

function parsed<T>(variable: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch {
    throw new ConfigError([`${variable} does not name a file with ${what} in PEM`]);
  }
}

function readPem(variable: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new ConfigError([
      `${variable} names a file that can't be read: ${(error as NodeJS.ErrnoException).code}`,
    ]);
  }
}
