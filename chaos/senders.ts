import { SCOPES, type Scope } from '../src/auth/principal.js';
import { openBank } from '../src/bank.js';
import { createKey } from '../src/cli/keys.js';
import { loadConfig } from '../src/config.js';
import { createLogger } from '../src/observability/logging.js';

/** With whose credential requests are sent. */
export interface Sender {
  readonly name: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Whose the accounts that it opens are to be; undefined: its own. */
  readonly opensFor: string | undefined;
}

export interface Senders {
  /** All of them see the accounts of a run. */
  readonly clients: readonly Sender[];
  readonly operator: Sender;
}

const OWNER = 'chaos';
/** All that a client may be allowed. */
const ORDINARY = SCOPES.filter((scope) => scope !== 'admin');

/**
 * Founds a bank, and makes keys for those who will use it: the service asks for credentials, so it does not start before.
 *
 * @param settings where the bank is
 */
export async function foundBank(settings: Readonly<Record<string, string>>): Promise<Senders> {
  const config = loadConfig({ ...settings, LOG_LEVEL: 'error' });
  const bank = await openBank(config, createLogger(config.log), { holder: 'chaos' });
  const sender = async (name: string, scopes: readonly Scope[], owner?: string): Promise<Sender> => {
    const { key } = await createKey(bank.shards, { name, scopes, owner });
    const opensFor = owner === undefined ? OWNER : undefined;
    return { name, headers: { authorization: `Bearer ${key}` }, opensFor };
  };
  try {
    return {
      clients: [await sender('service', ORDINARY), await sender('owner', ORDINARY, OWNER)],
      operator: await sender('operator', ['admin']),
    };
  } finally {
    await bank.close();
  }
}
