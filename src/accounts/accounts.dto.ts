import {
  availableOf,
  type Account,
  type AccountOpening,
  type AccountStatus,
  type OwnedAccount,
} from '../domain/account.js';
import type { AccountChanges, ChangeCommand } from '../domain/command.js';
import { CURRENCIES } from '../config/currencies.js';
import type { Currency as CurrencyOfBank } from '../domain/currency.js';
import { formatMoney, type Money as Cents } from '../domain/money.js';
import { requireScope } from '../access/access-errors.js';
import { MOVEMENT_SCOPES } from '../access/principal.js';
import { accountIdOf } from '../http/validation/account-path.dto.js';
import { Contract } from '../http/validation/contract.js';
import { matchesNone, parseRevisions } from '../http/validation/entity-tags.js';
import { actorOf } from '../http/validation/details.dto.js';
import { reads } from '../http/validation/incoming.js';
import { MAX_METADATA_BYTES, metadataText } from '../http/validation/metadata.js';
import {
  INSTANT_FORM,
  IsAmount,
  IsCurrency,
  IsInstant,
  IsLimit,
  IsLine,
  IsMetadata,
  IsNullableField,
  IsNumericId,
  IsOptionalField,
  IsOwner,
  IsOwnerName,
  IsVersion,
  IsWord,
  Owner,
  readAmount,
  readLimit,
  readVersion,
  type Numeric,
} from '../http/validation/field-rules.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { schema } from '../http/schema/registry.js';
import { PageQueryDto } from '../http/validation/page-query.dto.js';
import {
  AccountId,
  AvailableMoney,
  Currency,
  Field,
  listOf,
  Metadata,
  Money,
  NextCursor,
  orNull,
  plainText,
  jsonText,
  Resource,
  SignedMoney,
  text,
  Timestamp,
  Version,
  written,
} from '../http/openapi/resource.js';
import { millisecondOf } from '../domain/instant.js';
import { MAX_PROOF_LINES, type AccountFilter, type ChainProof } from '../ledger/read/ledger-reader.js';

/** What a client may say about an account for its own use. */
class AccountDetailsDto {
  @IsNullableField()
  @IsLine(255, { description: "The client's own name for the account. It need not be unique." })
  reference?: string;

  @IsNullableField()
  @IsMetadata({
    description: `A JSON object for the client's own use: at most ${MAX_METADATA_BYTES} bytes.`,
  })
  metadata?: object;
}

/** POST /accounts */
export class OpenAccountDto extends AccountDetailsDto {
  @IsOptionalField()
  @IsAmount()
  openingDeposit?: Numeric;

  @IsNullableField()
  @IsOwner()
  owner?: string;

  @IsNullableField()
  @IsNumericId(
    'An account in whose shard the new one is opened, so that transfers between the two are possible.',
  )
  near?: Numeric;

  @IsNullableField()
  @IsCurrency("Its currency, for ever; without it, the bank's. It tells how many decimals its amounts have.")
  currency?: string;
}

const STATUSES = ['open', 'debits_blocked', 'frozen', 'closed'] as const satisfies readonly AccountStatus[];

/** PATCH /accounts/{accountId}. Null clears `reference` and `metadata`. */
export class ChangeAccountDto extends AccountDetailsDto {
  @IsOptionalField()
  @IsWord(STATUSES, {
    description: '`closed` is for ever, and needs an empty account. Case does not matter.',
  })
  status?: string;

  @IsOptionalField()
  @IsLimit('How far the balance, less what is held, may be below zero.', 'OverdraftLimit')
  overdraftLimit?: Numeric;
}

/** GET /accounts/{accountId}/balance */
export class BalanceQueryDto {
  @IsOptionalField()
  @IsVersion({ description: 'Answer from a copy that has at least this version.' })
  minVersion?: string;

  @IsOptionalField()
  @IsInstant({
    description: `The balance at this time, with all transactions up to it, instead of that of now. ${INSTANT_FORM}`,
  })
  at?: string;

  @IsOptionalField()
  @IsVersion({ description: 'The balance that the account had with this version, instead of that of now.' })
  version?: string;
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

/** GET /accounts */
export class ListAccountsDto extends PageQueryDto {
  @IsOptionalField()
  @IsOwnerName()
  owner?: string;

  @IsOptionalField()
  @IsLine(255, { description: 'Only accounts with exactly this reference.' })
  reference?: string;

  @IsOptionalField()
  @IsWord(STATUSES, { description: 'Only accounts with this status. Case does not matter.' })
  status?: string;

  @IsOptionalField()
  @IsCurrency('Only accounts in this currency.')
  currency?: string;
}

const openAccount = new Contract(OpenAccountDto);
const changeAccount = new Contract(ChangeAccountDto);
const balanceQuery = new Contract(BalanceQueryDto, 'query parameter');
const proofQuery = new Contract(ProofQueryDto, 'query parameter');
const listAccounts = new Contract(ListAccountsDto, 'query parameter');

/** Throws ForbiddenError, too. */
export const openingOf = reads(
  { body: openAccount, headers: ['Idempotency-Key'] },
  ({ principal, idempotencyKey }, _query, body): AccountOpening => {
    const { openingDeposit, owner, near, reference, metadata, currency } = body;
    // The owner to whom the sender is confined; undefined: it may use all accounts.
    const sender = principal.owner;
    if (sender !== undefined && owner !== undefined && owner !== sender) {
      throw InvalidRequestError.of('owner', 'must be your own, or left out');
    }
    if (openingDeposit !== undefined) requireScope(principal, MOVEMENT_SCOPES.credit);
    return {
      ...{ openingDeposit: readAmount(openingDeposit), owner: sender ?? owner, idempotencyKey },
      ...{ near: readVersion(near), reference, metadata: metadataText(metadata) },
      currency: currency === undefined ? undefined : CURRENCIES.get(currency),
    };
  },
);

/** Throws ForbiddenError, too. */
export const changeOf = reads(
  { body: changeAccount, headers: ['If-Match'] },
  (request, _query, body): ChangeCommand => {
    const { principal, headers } = request;
    const accountId = accountIdOf(request);
    const changes = readChanges(body, request.body as object);
    const allowedRevisions = parseRevisions(headers['if-match']);
    const names = Object.keys(changes);
    if (names.length === 0)
      throw InvalidRequestError.of('body', 'must change status, overdraftLimit, reference or metadata');
    if ('status' in changes || 'overdraftLimit' in changes) requireScope(principal, 'accounts:manage');
    if ('reference' in changes || 'metadata' in changes) requireScope(principal, 'accounts:write');
    return { type: 'change', accountId, changes, allowedRevisions, actor: actorOf(principal) };
  },
);

/** @param sent the body as it came: there null clears, elsewhere it means the same as no field */
function readChanges(
  { status, overdraftLimit, reference, metadata }: ChangeAccountDto,
  sent: { readonly reference?: unknown; readonly metadata?: unknown },
): AccountChanges {
  return {
    ...(status !== undefined && { status: status.toLowerCase() as AccountStatus }),
    ...(overdraftLimit !== undefined && { overdraftLimit: readLimit(overdraftLimit) }),
    ...(sent.reference !== undefined && { reference: reference ?? null }),
    ...(sent.metadata !== undefined && { metadata: metadataText(metadata) ?? null }),
  };
}

/** Which balance of an account's history: that at a time, in milliseconds since 1970, or that of a version. */
export type Past = { readonly atMs: number } | { readonly version: number };

/** A request for a balance. */
export interface BalanceRequest {
  readonly accountId: number;
  /** Undefined: the balance of now. */
  readonly past: Past | undefined;
  readonly minVersion: number | undefined;
  readonly noCache: boolean;
  /** Whether the client does not yet have the representation with this entity tag. */
  readonly wants: (tag: string) => boolean;
}

const NO_CACHE = /(^|[\s,])no-cache([\s,]|$)/i;

export const balanceRequestOf = reads(
  { query: balanceQuery, headers: ['If-None-Match'] },
  (request, query): BalanceRequest => {
    const { headers } = request;
    const cacheControl = headers['cache-control'];
    return {
      past: readPast(query),
      minVersion: readVersion(query.minVersion),
      accountId: accountIdOf(request),
      noCache: cacheControl !== undefined && NO_CACHE.test(cacheControl),
      wants: matchesNone(headers['if-none-match']),
    };
  },
);

function readPast({ minVersion, at, version }: BalanceQueryDto): Past | undefined {
  if (at === undefined && version === undefined) return undefined;
  if (minVersion !== undefined)
    throw InvalidRequestError.of('minVersion', 'is about the balance of now: give it without at and version');
  if (at === undefined) return { version: readVersion(version) ?? 0 };
  if (version !== undefined)
    throw InvalidRequestError.of('version', 'and at exclude each other: give one of the two');
  return { atMs: millisecondOf(at) };
}

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

/** The requested page of accounts. */
export interface AccountListingRequest {
  readonly cursor: string | undefined;
  readonly limit: number;
  readonly filter: AccountFilter;
}

export const accountListingOf = reads(
  { query: listAccounts },
  ({ principal }, { cursor, limit, owner, reference, status, currency }): AccountListingRequest => {
    if (principal.owner !== undefined && owner !== undefined && owner !== principal.owner) {
      throw InvalidRequestError.of('owner', 'must be your own, or left out');
    }
    return {
      cursor,
      limit: Number(limit),
      filter: {
        // An owner's own listing has no other owners.
        owner: principal.owner === undefined ? owner : undefined,
        reference,
        status: status?.toLowerCase() as AccountStatus | undefined,
        currency,
      },
    };
  },
);

/** `{"balance":350.00,"version":12}`; of the past also `"held":0.00` */
@Resource('Balance')
export class BalanceDto {
  @Field(SignedMoney) readonly balance: string;
  @Field(Version) readonly version: number;
  @Field(Money, { optional: true }) readonly held: string | undefined;

  /** @param held in an answer about the past: nothing else tells it */
  constructor({ balance, version, decimals }: Account, held?: Cents) {
    this.balance = formatMoney(balance, decimals);
    this.version = version;
    this.held = held === undefined ? undefined : formatMoney(held, decimals);
  }
}

const Status = plainText(
  schema('AccountStatus', {
    description:
      '`debits_blocked`: money arrives, and only holds that were placed before take any out. `frozen`: only holds end. ' +
      '`closed`: for ever.',
    type: 'string',
    enum: STATUSES,
  }),
);

/** What decisions about the account depend on, and what else it has. */
@Resource('Account')
export class AccountDto {
  @Field(AccountId) readonly accountId: number;
  @Field(SignedMoney) readonly balance: string;
  @Field(Version) readonly version: number;
  @Field(Money) readonly held: string;
  @Field(AvailableMoney) readonly available: string;
  @Field(Money) readonly overdraftLimit: string;
  @Field(Currency) readonly currency: string;
  @Field(Status) readonly status: AccountStatus;
  @Field(text(Owner), { optional: true }) readonly owner: string | undefined;

  @Field(text({ type: 'string', description: "The client's own name for it." }), { optional: true })
  readonly reference: string | undefined;

  @Field(jsonText(Metadata), { optional: true })
  readonly metadata: string | undefined;

  @Field(Timestamp, { optional: true }) readonly createdAt: string | undefined;

  /** @param bank the bank's currency */
  constructor(account: OwnedAccount, bank: CurrencyOfBank) {
    const { decimals } = account;
    this.accountId = account.accountId;
    this.balance = formatMoney(account.balance, decimals);
    this.version = account.version;
    this.held = formatMoney(account.held, decimals);
    this.available = formatMoney(availableOf(account), decimals);
    this.overdraftLimit = formatMoney(account.overdraftLimit, decimals);
    this.currency = account.currency ?? bank.code;
    this.status = account.status;
    this.owner = account.owner;
    this.reference = account.reference;
    this.metadata = account.metadata;
    this.createdAt = account.createdAt?.toISOString();
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
