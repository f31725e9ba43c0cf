import type { ApiKeyStore, NamedKey } from '../access/api-key-store.js';
import { EVERYBODY, keyIdOf, principalOf, type Principal } from '../access/principal.js';
import { LedgerError } from '../domain/errors.js';
import type { Claim } from './submission-message.js';

/** The name of the API key as which a user of the broker acts. */
export const keyNameOf = (brokerUser: string): string => `rabbitmq:${brokerUser}`;

/** A sender, as it is now. */
export interface CurrentSender {
  readonly principal: Principal;
  /** True: its credential has ended. */
  readonly ended: boolean;
}

/**
 * Looks up again who the senders of submissions are, when these are to be posted. Of an API key everything may have
 * changed since. What an access token said can't be asked again, so it stays.
 */
export class Senders {
  /**
   * @param store undefined: authentication is off
   * @param staleMs how long a key is believed while keys can't be read
   */
  constructor(
    private readonly store: ApiKeyStore | undefined,
    private readonly staleMs: number,
  ) {}

  /**
   * @returns for each claim its sender; undefined: a user of the broker who has no API key
   * @throws LedgerError DATABASE_FAILED when keys can't be read
   */
  async resolve(claims: readonly Claim[]): Promise<readonly (CurrentSender | undefined)[]> {
    if (!this.store) return claims.map((claim) => ({ principal: claimedBy(claim), ended: false }));
    const ids = new Set(claims.flatMap((claim) => keyIdIn(claim) ?? []));
    const names = new Set(claims.flatMap((claim) => ('user' in claim ? keyNameOf(claim.user) : [])));
    if (ids.size + names.size === 0) return claims.map(unchanged);
    const keys = await this.store.findValidNamed([...ids], [...names]).catch(() => undefined);
    return claims.map((claim) => (keys ? senderIn(keys, claim) : this.believed(claim)));
  }

  /** As the service itself does with requests. */
  private believed(claim: Claim): CurrentSender {
    if ('principal' in claim && Date.now() - claim.at < this.staleMs) return unchanged(claim);
    throw new LedgerError({ code: 'DATABASE_FAILED', currentVersion: null });
  }
}

const claimedBy = (claim: Claim): Principal => ('user' in claim ? EVERYBODY : claim.principal);

/** Where credentials are needed, nobody may do everything without one. */
const unchanged = (claim: Claim): CurrentSender => {
  const principal = claimedBy(claim);
  return { principal, ended: principal.id === EVERYBODY.id };
};

const keyIdIn = (claim: Claim): number | undefined =>
  'principal' in claim ? keyIdOf(claim.principal) : undefined;

function senderIn(keys: readonly NamedKey[], claim: Claim): CurrentSender | undefined {
  if ('user' in claim) {
    // The newest: a key that was rotated has the same name.
    const key = keys.findLast(({ name }) => name === keyNameOf(claim.user));
    return key && { principal: principalFrom(key), ended: false };
  }
  const keyId = keyIdIn(claim);
  if (keyId === undefined) return unchanged(claim);
  const key = keys.find((each) => each.keyId === keyId);
  return key ? { principal: principalFrom(key), ended: false } : { principal: claim.principal, ended: true };
}

const principalFrom = ({ keyId, scopes, owner }: NamedKey): Principal =>
  principalOf(`key:${keyId}`, owner ?? undefined, scopes);
