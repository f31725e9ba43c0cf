import { isBankScope, SCOPES, type Scope } from '../../src/access/principal.js';
import { openDatabases } from '../../src/app/open-databases.js';
import { createKey } from '../../src/admin/keys.js';
import { loadConfig } from '../../src/config/config.js';
import { createLogger } from '../../src/observability/logging.js';

/** A client with a credential of its own. */
export interface Sender {
  readonly name: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Whose accounts it may use; undefined: all. */
  readonly owner: string | undefined;
  /** The owner of the accounts that it opens; undefined: the sender itself. */
  readonly opensFor: string | undefined;
  /** Whether it may take back money that is gone. */
  readonly mayForce: boolean;
}

export interface Senders {
  /** All of them may see the accounts of the run, but for those of {@link STRANGER}. */
  readonly clients: readonly Sender[];
  readonly operator: Sender;
}

const OWNER = 'chaos';
/** The owner of accounts that no client is bound to. */
export const STRANGER = 'stranger';
/** All scopes that a client may have. */
const ORDINARY = SCOPES.filter((scope) => scope !== 'admin');
/** Those that one with an owner may have. */
const OF_OWNERS = ORDINARY.filter((scope) => !isBankScope(scope));

/**
 * Creates a bank and the keys of its users: with AUTH=on, the service does not start without a key.
 *
 * @param settings where the bank is
 */
export async function foundBank(settings: Readonly<Record<string, string>>): Promise<Senders> {
  const config = loadConfig({ ...settings, LOG_LEVEL: 'error' });
  const bank = await openDatabases(config, createLogger(config.log), { holder: 'chaos' });
  const sender = async (name: string, scopes: readonly Scope[], owner?: string): Promise<Sender> => {
    const { key } = await createKey(bank.shards, { name, scopes, owner });
    const opensFor = owner === undefined ? OWNER : undefined;
    const mayForce = scopes.includes('admin');
    return { name, headers: { authorization: `Bearer ${key}` }, owner, opensFor, mayForce };
  };
  try {
    const operator = await sender('operator', ['admin']);
    return {
      clients: [await sender('service', ORDINARY), await sender('owner', OF_OWNERS, OWNER), operator],
      operator,
    };
  } finally {
    await bank.close();
  }
}
