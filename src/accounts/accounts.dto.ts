import type { Account, OwnedAccount } from '../domain/account.js';
import type { Money as Cents } from '../domain/money.js';
import { requireScope } from '../access/access-errors.js';
import { MOVEMENT_SCOPES } from '../access/principal.js';
import { accountIdOf } from '../http/validation/account-path.dto.js';
import { Contract } from '../http/validation/contract.js';
import { matchesNone } from '../http/validation/entity-tags.js';
import { reads } from '../http/validation/incoming.js';
import {
  IsAmount,
  IsNullableField,
  IsOptionalField,
  IsOwner,
  IsVersion,
  Owner,
  readAmount,
  readVersion,
  type Numeric,
} from '../http/validation/field-rules.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { schema } from '../http/schema/registry.js';
import { PageQueryDto } from '../http/validation/page-query.dto.js';
import {
  AccountId,
  Field,
  listOf,
  Money,
  NextCursor,
  orNull,
  plainText,
  Resource,
  text,
  Version,
  written,
} from '../http/openapi/resource.js';
import { MAX_PROOF_LINES, type ChainProof } from '../ledger/read/ledger-reader.js';

/** POST /accounts */
export class OpenAccountDto {
  @IsOptionalField()
  @IsAmount()
  openingDeposit?: Numeric;

  @IsNullableField()
  @IsOwner()
  owner?: string;
}

/** GET /accounts/{accountId}/balance */
export class BalanceQueryDto {
  @IsOptionalField()
  @IsVersion({ description: 'Answer from a copy that has at least this version.' })
  minVersion?: string;
}

/** GET /accounts/{accountId}/proof */
export class ProofQueryDto {
  @IsOptionalField()
  @IsVersion({ description: 'The version of a head that you have; 1: from the beginning.' })
  fromVersion?: string;

  @IsOptionalField()
  @IsVersion({ description: 'The first change of the account to return as a line; 1: from the beginning.' })
  fromRevision?: string;
}

const openAccount = new Contract(OpenAccountDto);
const balanceQuery = new Contract(BalanceQueryDto, 'query parameter');
const proofQuery = new Contract(ProofQueryDto, 'query parameter');
const pageQuery = new Contract(PageQueryDto, 'query parameter');

/** An account to be opened. */
export interface Opening {
  readonly openingDeposit: Cents | undefined;
  readonly owner: string | undefined;
  readonly idempotencyKey: string | undefined;
}

/** Throws ForbiddenError, too. */
export const openingOf = reads(
  { body: openAccount, headers: ['Idempotency-Key'] },
  ({ principal, idempotencyKey }, _query, { openingDeposit, owner }): Opening => {
    // The owner to whom the sender is confined; undefined: it may use all accounts.
    const sender = principal.owner;
    if (sender !== undefined && owner !== undefined && owner !== sender) {
      throw InvalidRequestError.of('owner', 'must be your own, or left out');
    }
    if (openingDeposit !== undefined) requireScope(principal, MOVEMENT_SCOPES.credit);
    return { openingDeposit: readAmount(openingDeposit), owner: sender ?? owner, idempotencyKey };
  },
);

/** A request for a balance. */
export interface BalanceRequest {
  readonly accountId: number;
  readonly minVersion: number | undefined;
  readonly noCache: boolean;
  /** Whether the client does not yet have the representation with this entity tag. */
  readonly wants: (tag: string) => boolean;
}

const NO_CACHE = /(^|[\s,])no-cache([\s,]|$)/i;

export const balanceRequestOf = reads(
  { query: balanceQuery, headers: ['If-None-Match'] },
  (request, { minVersion }): BalanceRequest => {
    const { headers } = request;
    const cacheControl = headers['cache-control'];
    return {
      minVersion: readVersion(minVersion),
      accountId: accountIdOf(request),
      noCache: cacheControl !== undefined && NO_CACHE.test(cacheControl),
      wants: matchesNone(headers['if-none-match']),
    };
  },
);

export type AccountRequest = Pick<BalanceRequest, 'accountId' | 'wants'>;

export const accountRequestOf = reads({ headers: ['If-None-Match'] }, (request): AccountRequest => ({
  accountId: accountIdOf(request),
  wants: matchesNone(request.headers['if-none-match']),
}));

export interface ProofRequest {
  readonly accountId: number;
  readonly fromVersion: number | undefined;
  readonly fromRevision: number | undefined;
}

/** Throws ForbiddenError, too. */
export const proofRequestOf = reads({ query: proofQuery }, (request, query): ProofRequest => {
  const fromVersion = readVersion(query.fromVersion);
  const accountId = accountIdOf(request);
  // Its lines are transactions, with their amounts and keys.
  if (fromVersion !== undefined) requireScope(request.principal, 'transactions:read');
  return { accountId, fromVersion, fromRevision: readVersion(query.fromRevision) };
});

export const pageRequestOf = reads({ query: pageQuery }, (_request, query) => query);

/** `{"balance":350.00,"version":12}` */
@Resource('Balance')
export class BalanceDto {
  @Field(Money) readonly balance: Cents;
  @Field(Version) readonly version: number;

  constructor({ balance, version }: Account) {
    this.balance = balance;
    this.version = version;
  }
}

/** `{"accountId":1,"balance":1000.00,"version":2}`, and `"owner"` if it has one. */
@Resource('Account')
export class AccountDto {
  @Field(AccountId) readonly accountId: number;
  @Field(Money) readonly balance: Cents;
  @Field(Version) readonly version: number;
  @Field(text(Owner), { optional: true }) readonly owner: string | undefined;

  constructor({ accountId, balance, version, owner }: OwnedAccount) {
    this.accountId = accountId;
    this.balance = balance;
    this.version = version;
    this.owner = owner;
  }
}

@Resource('AccountPage')
export class AccountPageDto {
  @Field(listOf(written(AccountDto))) readonly data!: readonly AccountDto[];
  @Field(NextCursor) readonly nextCursor!: string | null;
}

const HASH = schema('Hash', {
  type: 'string',
  description: 'A SHA-256, in lower-case hexadecimal digits.',
  pattern: '^[0-9a-f]{64}$',
});

/** `{"revision":2,"hash":"5f8b…"}` */
@Resource('EventsHead')
export class EventsHeadDto {
  @Field(Version) readonly revision!: number;
  @Field(plainText(HASH)) readonly hash!: string;
}

/**
 * `{"accountId":1,"version":3,"hash":"5f8b…","lines":["7:1:credit:…"],"nextFromVersion":null}`; the last two on
 * request. With `events` and, on request, their lines, if the account was changed otherwise than by transactions.
 */
@Resource('Proof')
export class ProofDto {
  @Field(AccountId) readonly accountId!: number;
  @Field(Version) readonly version!: number;
  @Field(plainText(HASH)) readonly hash!: string;

  @Field(
    listOf(text(), {
      maxItems: MAX_PROOF_LINES,
      description: 'The transactions after `fromVersion`, oldest first, as they were hashed.',
    }),
    { optional: true },
  )
  readonly lines?: readonly string[];

  @Field(
    orNull(Version, {
      oneOf: [Version.schema, { type: 'null' }],
      description: 'Where to go on, when there are more; `null`: the lines lead to the head.',
    }),
    { optional: true },
  )
  readonly nextFromVersion?: number | null;

  @Field(written(EventsHeadDto), { optional: true })
  readonly events?: EventsHeadDto;

  @Field(
    listOf(text(), {
      maxItems: MAX_PROOF_LINES,
      description: 'The changes of the account from `fromRevision` on, oldest first, as they were hashed.',
    }),
    { optional: true },
  )
  readonly eventLines?: readonly string[];

  @Field(
    orNull(Version, {
      oneOf: [Version.schema, { type: 'null' }],
      description: 'Where to go on, when there are more; `null`: the lines lead to the head.',
    }),
    { optional: true },
  )
  readonly nextFromRevision?: number | null;

  static of(
    { nextFromVersion, lines, events, eventLines, nextFromRevision, ...head }: ChainProof,
    { fromVersion, fromRevision }: ProofRequest,
  ): ProofDto {
    return {
      ...head,
      ...(fromVersion !== undefined && { lines, nextFromVersion: nextFromVersion ?? null }),
      ...(events && { events }),
      ...(fromRevision !== undefined && { eventLines, nextFromRevision: nextFromRevision ?? null }),
    };
  }
}
