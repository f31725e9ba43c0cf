import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { SecureContextOptions } from 'node:tls';
import { ConfigError, type Config } from '../config.js';

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
  return { cert, key, minVersion: 'TLSv1.2' };
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
