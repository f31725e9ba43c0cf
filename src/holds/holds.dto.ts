import { requireScope } from '../access/access-errors.js';
import { availableOf, MAX_ID, type LedgerAccount } from '../domain/account.js';
import type { CaptureCommand, HoldCommand, VoidCommand } from '../domain/command.js';
import type { HoldStatus } from '../domain/hold.js';
import { millisecondFrom } from '../domain/instant.js';
import { formatMoney } from '../domain/money.js';
import { Described } from '../http/openapi/described.js';
import { DryReceiptDto, ReceiptDto } from '../http/openapi/receipt.js';
import { DryTransferDto, TransferDto } from '../transfers/transfers.dto.js';
import {
  AccountId,
  AvailableMoney,
  eitherOf,
  Field,
  HoldId,
  HoldState,
  listOf,
  Money,
  NextCursor,
  ofDryRun,
  Resource,
  Timestamp,
  VersionText,
  written,
} from '../http/openapi/resource.js';
import { accountIdOf } from '../http/validation/account-path.dto.js';
import { Contract, orNone } from '../http/validation/contract.js';
import { DetailsDto, DryRunQueryDto, isDryRun, readDetails } from '../http/validation/details.dto.js';
import { parseIfMatch } from '../http/validation/entity-tags.js';
import {
  IsAmount,
  IsCount,
  IsHoldId,
  IsInstant,
  IsNullableField,
  IsNumericId,
  IsOptionalField,
  IsTrueOrFalse,
  IsWord,
  readAmount,
  readHoldId,
  readVersion,
  type Numeric,
} from '../http/validation/field-rules.js';
import { reads } from '../http/validation/incoming.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { listingIn, PageQueryDto, type Listing } from '../http/validation/page-query.dto.js';
import type { DescribedHold } from '../ledger/read/hold-reader.js';

const SECOND_MS = 1_000;
const MAX_SECONDS = 366 * 24 * 60 * 60;

/** POST /accounts/{accountId}/holds */
export class PlaceHoldDto extends DetailsDto {
  @IsAmount()
  amount!: Numeric;

  @IsNullableField()
  @IsInstant({
    description:
      'When what remains of it ends by itself, at most 366 days ahead: an ISO 8601 date, or a date and time with its offset.',
  })
  expiresAt?: string;

  @IsNullableField()
  @IsCount(1, MAX_SECONDS, 'The same in seconds from now. Without either, it does not expire.')
  expiresInSeconds?: Numeric;

  @IsNullableField()
  @IsNumericId('The version that the account must have.')
  expectedVersion?: Numeric;
}

/** POST /holds/{holdId}/capture */
export class CaptureDto extends DetailsDto {
  @IsOptionalField()
  @IsAmount()
  amount?: Numeric;

  @IsNullableField()
  @IsTrueOrFalse('Whether what then remains of the hold ends with it. True, if not said.')
  final?: boolean;

  @IsNullableField()
  @IsNumericId('The account of the same shard that gets the money. Without it, the money leaves the bank.')
  to?: Numeric;
}

/** POST /holds/{holdId}/void */
export class VoidDto extends DetailsDto {}

export const STATUSES = ['active', 'captured', 'voided', 'expired'] as const satisfies readonly HoldStatus[];

/** GET /accounts/{accountId}/holds */
export class ListHoldsDto extends PageQueryDto {
  @IsOptionalField()
  @IsWord(STATUSES, { description: 'Only holds with this status. Case does not matter.' })
  status?: string;
}

/** /holds/{holdId} */
export class HoldPathDto {
  @IsHoldId({ description: 'The id of a hold.', example: 'hold1' })
  holdId!: string;
}

const placeHold = new Contract(PlaceHoldDto);
const captureBody = new Contract(CaptureDto);
const voidBody = new Contract(VoidDto);
const dryRunQuery = new Contract(DryRunQueryDto, 'query parameter');
const listHolds = new Contract(ListHoldsDto, 'query parameter');
const holdPath = new Contract(HoldPathDto);

/** Throws ForbiddenError, too. */
export const placingOf = reads(
  { query: dryRunQuery, body: placeHold, headers: ['If-Match', 'Idempotency-Key', 'Prefer'] },
  (request, query, body): HoldCommand => {
    const { principal, idempotencyKey } = request;
    const command = {
      ...{ type: 'hold' as const, accountId: accountIdOf(request), amount: readAmount(body.amount) ?? 0n },
      ...readExpiry(body),
      expectedVersion: readVersion(body.expectedVersion),
      allowedVersions: parseIfMatch(request.headers['if-match']),
      ...{ idempotencyKey, details: readDetails(body, principal), dryRun: isDryRun(query) },
    };
    requireScope(principal, 'withdrawals:write');
    return command;
  },
);

/** That it is not too early is for {@link isTooEarly}. */
export function readExpiry({
  expiresAt,
  expiresInSeconds,
}: PlaceHoldDto): Pick<HoldCommand, 'expiresAt' | 'expiresInMs'> {
  const seconds = readVersion(expiresInSeconds);
  if (expiresAt === undefined) return seconds === undefined ? {} : { expiresInMs: seconds * SECOND_MS };
  if (seconds !== undefined)
    throw InvalidRequestError.of('expiresInSeconds', 'says the same as expiresAt: give one of the two');
  const time = millisecondFrom(expiresAt);
  if (time.getTime() > Date.now() + MAX_SECONDS * SECOND_MS)
    throw InvalidRequestError.of('expiresAt', 'must be at most 366 days ahead');
  return { expiresAt: time };
}

export const isTooEarly = ({ expiresAt }: HoldCommand): boolean =>
  expiresAt !== undefined && expiresAt.getTime() < Date.now() + SECOND_MS;

/** The account of its hold is not known yet. */
export type CaptureRequest = Omit<CaptureCommand, 'accountId'>;
export type VoidRequest = Omit<VoidCommand, 'accountId'>;

/** Throws ForbiddenError, too. */
export const captureOf = reads(
  { query: dryRunQuery, body: orNone(captureBody), headers: ['Idempotency-Key'] },
  (request, query, body): CaptureRequest => {
    const { principal, idempotencyKey } = request;
    const to = readVersion(body.to);
    const command = {
      ...{ type: 'capture' as const, holdId: holdIdIn(request.params), amount: readAmount(body.amount) },
      ...{ final: body.final ?? true, to: to === undefined ? undefined : { accountId: to } },
      ...{ idempotencyKey, details: readDetails(body, principal), dryRun: isDryRun(query) },
    };
    requireScope(principal, to === undefined ? 'withdrawals:write' : 'transfers:write');
    return command;
  },
);

/** Throws ForbiddenError, too. */
export const voidOf = reads(
  { query: dryRunQuery, body: orNone(voidBody), headers: ['Idempotency-Key'] },
  (request, query, body): VoidRequest => {
    const { principal, idempotencyKey } = request;
    const command = {
      ...{ type: 'void' as const, holdId: holdIdIn(request.params), idempotencyKey },
      ...{ details: readDetails(body, principal), dryRun: isDryRun(query) },
    };
    requireScope(principal, 'withdrawals:write');
    return command;
  },
);

const holdIdIn = (params: unknown): number => readHoldId(holdPath.read(params).holdId) ?? MAX_ID;

export const holdIdOf = reads({}, ({ params }): number => holdIdIn(params));

/** The requested page of an account's holds. */
export interface HoldListing extends Listing {
  readonly status: HoldStatus | undefined;
}

export const holdListingOf = reads({ query: listHolds }, (request, { status, ...page }): HoldListing => ({
  ...listingIn(request, page),
  status: status?.toLowerCase() as HoldStatus | undefined,
}));

const optional = { optional: true };

/** A hold and, in the answer to what changed it, its account's figures afterwards. */
@Resource('Hold')
export class HoldDto extends Described {
  @Field(HoldId) readonly id: string;
  @Field(AccountId) readonly accountId: number;
  @Field(Money) readonly amount: string;
  @Field(Money) readonly remaining: string;
  @Field(Money) readonly captured: string;
  /** The part of `remaining` that awaits another shard's decision; left out: none. */
  @Field(Money, optional) readonly capturing: string | undefined;
  @Field(HoldState) readonly status: HoldStatus;
  @Field(Timestamp) readonly createdAt: string;
  @Field(Timestamp, optional) readonly expiresAt: string | undefined;
  @Field(Money, optional) readonly held: string | undefined;
  @Field(AvailableMoney, optional) readonly available: string | undefined;
  @Field(VersionText, optional) readonly newVersion: string | undefined;

  constructor(hold: DescribedHold, account?: LedgerAccount) {
    super(hold.details);
    const { decimals } = hold;
    this.id = `hold${hold.holdId}`;
    this.accountId = hold.accountId;
    this.amount = formatMoney(hold.amount, decimals);
    this.remaining = formatMoney(hold.remaining, decimals);
    this.captured = formatMoney(hold.captured, decimals);
    this.capturing = hold.capturing === 0n ? undefined : formatMoney(hold.capturing, decimals);
    this.status = hold.status;
    this.createdAt = hold.createdAt.toISOString();
    this.expiresAt = hold.expiresAt?.toISOString();
    if (!account) return;
    this.held = formatMoney(account.held, decimals);
    this.available = formatMoney(availableOf(account), decimals);
    this.newVersion = String(account.version);
  }
}

export const DryHoldDto = ofDryRun('HoldOfDryRun', HoldDto, ['id', 'createdAt']);

/** What a capture makes: a transaction, or with `to` a transfer. */
export const Captured = eitherOf([
  [ReceiptDto, ReceiptDto],
  [TransferDto, TransferDto],
]);
export const DryCaptured = eitherOf([
  [ReceiptDto, DryReceiptDto],
  [TransferDto, DryTransferDto],
]);

@Resource('HoldPage')
export class HoldPageDto {
  @Field(listOf(written(HoldDto))) readonly data!: readonly HoldDto[];
  @Field(NextCursor) readonly nextCursor!: string | null;
}
