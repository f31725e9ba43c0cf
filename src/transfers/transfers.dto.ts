import { MAX_LEGS, type Leg, type TransferCommand } from '../domain/command.js';
import { MAX_ID } from '../domain/account.js';
import { formatMoney, inMinorUnits, MAX_DECIMALS } from '../domain/money.js';
import type { TransferStatus } from '../domain/between-shards.js';
import type { Transfer, TransferLeg, TransferReversal } from '../domain/transfer.js';
import { Described } from '../http/openapi/described.js';
import { Code } from '../http/openapi/error-bodies.js';
import { TYPE_WORDS, TypeWord } from '../http/openapi/receipt.js';
import {
  AccountId,
  Field,
  listOf,
  Money,
  NextCursor,
  ofDryRun,
  orNull,
  plainText,
  Resource,
  SignedMoney,
  Timestamp,
  TransactionId,
  TransferId,
  VersionText,
  written,
} from '../http/openapi/resource.js';
import { schema } from '../http/schema/registry.js';
import { advice } from '../http/validation/advice.js';
import { Contract, type Elsewhere } from '../http/validation/contract.js';
import { DetailsDto, DryRunQueryDto, isDryRun, readDetails } from '../http/validation/details.dto.js';
import {
  IsAmount,
  IsNullableField,
  IsTransferId,
  readAmount,
  readTransferId,
  readVersion,
  TRANSACTION_ID_PATTERN,
  type Numeric,
} from '../http/validation/field-rules.js';
import { reads } from '../http/validation/incoming.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import { IsListOf } from '../http/validation/list-of.js';
import {
  IsAccountId,
  IsExpectedVersion,
  IsMovementType,
  readMovementType,
} from '../http/validation/movements.js';
import { listingIn, PageQueryDto } from '../http/validation/page-query.dto.js';
import { readsReversal } from '../http/validation/reversal.dto.js';

/** POST /transfers from one account to another. */
export class PostTransferDto extends DetailsDto {
  @IsAccountId
  from!: Numeric;

  @IsAccountId
  to!: Numeric;

  @IsAmount()
  amount!: Numeric;

  @IsNullableField()
  @IsExpectedVersion
  expectedVersion?: Numeric;
}

/** A part of a transfer: what it does to one account. */
export class PostLegDto {
  @IsAccountId
  accountId!: Numeric;

  @IsMovementType
  type!: string;

  @IsAmount()
  amount!: Numeric;

  @IsNullableField()
  @IsExpectedVersion
  expectedVersion?: Numeric;
}

/** POST /transfers among several accounts. */
export class PostLegsDto extends DetailsDto {
  @IsListOf(
    PostLegDto,
    'TransferLegInput',
    { minItems: 2, maxItems: MAX_LEGS },
    {
      description:
        'Each account at most once. In each currency, the withdrawals must be as much as the deposits.',
    },
  )
  legs!: PostLegDto[];
}

const EITHER = 'give either legs, or from, to and amount';
const LEGS = advice('legs', 'did you mean legs?');
const OF_THE_OTHER_FORM = ['from', 'to', 'amount', 'expectedVersion'].map((name) => advice(name, EITHER));

/** A transfer has one of two bodies; the field `legs` tells which. */
export function eitherForm<T extends PostTransferDto, L extends PostLegsDto>(
  twoAccounts: Contract<T>,
  severalLegs: Contract<L>,
) {
  return {
    names: [...new Set([...twoAccounts.names, ...severalLegs.names])],
    read: (input: unknown, elsewhere?: Elsewhere): T | L =>
      hasLegs(input)
        ? severalLegs.read(input, () => [...OF_THE_OTHER_FORM, ...(elsewhere?.() ?? [])])
        : twoAccounts.read(input, () => [LEGS, ...(elsewhere?.() ?? [])]),
  };
}

const hasLegs = (input: unknown): boolean => typeof input === 'object' && input !== null && 'legs' in input;

/**
 * Reads the legs of a transfer from a validated body.
 *
 * @throws InvalidRequestError when they are no transfer
 */
export function readLegs(body: PostTransferDto | PostLegsDto): readonly Leg[] {
  if (!('legs' in body)) return legsBetween(body);
  return checkedLegs(
    body.legs.map((leg, index) => ({ ...readLeg(leg), amountName: `legs[${index}].amount` })),
  );
}

function legsBetween({ from, to, amount, expectedVersion }: PostTransferDto): readonly Leg[] {
  const debit = readLeg({ accountId: from, type: 'debit', amount, expectedVersion });
  const credit = readLeg({ accountId: to, type: 'credit', amount });
  if (debit.accountId === credit.accountId) {
    throw InvalidRequestError.of('to', 'must be another account than from');
  }
  return [debit, credit];
}

const readLeg = ({ accountId, type, amount, expectedVersion }: PostLegDto): Leg => ({
  accountId: readVersion(accountId) ?? MAX_ID,
  type: readMovementType(type),
  amount: readAmount(amount) ?? 0n,
  expectedVersion: readVersion(expectedVersion),
});

/** In the smallest unit of any currency. */
function signed({ type, amount }: Leg): bigint {
  const units = inMinorUnits(amount, MAX_DECIMALS) ?? 0n;
  return type === 'debit' ? units : -units;
}

function checkedLegs(legs: readonly Leg[]): readonly Leg[] {
  const places = new Map<number, number>();
  for (const [index, { accountId }] of legs.entries()) {
    const other = places.get(accountId);
    if (other !== undefined) {
      throw InvalidRequestError.of(`legs[${index}].accountId`, `is the account of legs[${other}], too`);
    }
    places.set(accountId, index);
  }
  // Each currency takes two legs, so fewer than four are of one. Others are for the ledger, which knows the currencies.
  const total = legs.reduce((sum, leg) => sum + signed(leg), 0n);
  if (legs.length < 4 && total !== 0n)
    throw InvalidRequestError.of('legs', 'must withdraw as much as they deposit');
  return legs;
}

/** The account to which the key of a transfer belongs: the first from which money leaves. */
export const payerOf = (legs: readonly Leg[]): number =>
  legs.find(({ type }) => type === 'debit')?.accountId ?? 0;

const dryRunQuery = new Contract(DryRunQueryDto, 'query parameter');

export const transferOf = reads(
  {
    query: dryRunQuery,
    body: eitherForm(new Contract(PostTransferDto), new Contract(PostLegsDto)),
    headers: ['Idempotency-Key', 'Prefer'],
    instead: { 'If-Match': 'give expectedVersion in the body' },
  },
  ({ principal, idempotencyKey }, query, body): TransferCommand => {
    const legs = readLegs(body);
    return {
      type: 'transfer',
      accountId: payerOf(legs),
      legs,
      idempotencyKey,
      details: readDetails(body, principal),
      dryRun: isDryRun(query),
    };
  },
);

/** /transfers/{transferId}/… */
export class TransferPathDto {
  @IsTransferId({ description: 'The id of a transfer.', example: 'tr1' })
  transferId!: string;
}

const transferPath = new Contract(TransferPathDto);

const transferIdIn = (params: unknown): number =>
  readTransferId(transferPath.read(params).transferId) ?? MAX_ID;

export const transferIdOf = reads({}, ({ params }): number => transferIdIn(params));

/** Throws ForbiddenError, too. */
export const transferReversalOf = readsReversal((params): Pick<TransferReversal, 'type' | 'transferId'> => ({
  type: 'transfer-reversal',
  transferId: transferIdIn(params),
}));

export const transferListingOf = reads({ query: new Contract(PageQueryDto, 'query parameter') }, listingIn);

const optional = { optional: true };

const LegTransactionId = schema('LegTransactionId', {
  description: 'null while the transfer is pending, and if it has failed.',
  type: ['string', 'null'],
  pattern: TRANSACTION_ID_PATTERN,
});

@Resource('TransferLeg', {
  description: 'A transaction of a transfer. Only who may see the account learns its balance and version.',
})
export class TransferLegDto {
  @Field(orNull(TransactionId, LegTransactionId)) readonly transactionId: string | null;
  @Field(AccountId) readonly accountId: number;
  @Field(TypeWord) readonly type: string;
  @Field(Money) readonly amount: string;
  @Field(SignedMoney, optional) readonly newBalance: string | undefined;
  @Field(VersionText, optional) readonly newVersion: string | undefined;

  constructor(
    { transactionId, accountId, type, amount, balanceAfter, versionAfter, decimals }: TransferLeg,
    isForeign: boolean,
  ) {
    this.transactionId = transactionId === undefined ? null : `txn${transactionId}`;
    this.accountId = accountId;
    this.type = TYPE_WORDS[type];
    this.amount = formatMoney(amount, decimals);
    const isTold = !isForeign && balanceAfter !== undefined;
    this.newBalance = isTold ? formatMoney(balanceAfter, decimals) : undefined;
    this.newVersion = isTold ? String(versionAfter) : undefined;
  }
}

const Status = plainText(
  schema('TransferStatus', {
    description:
      '`pending` while a transfer between shards is under way: the money is on hold. What has failed has moved nothing.',
    type: 'string',
    enum: ['pending', 'completed', 'failed'] satisfies TransferStatus[],
  }),
);

@Resource('Transfer')
export class TransferDto extends Described {
  @Field(TransferId) readonly id: string;
  @Field(Status) readonly status: TransferStatus;
  /** The code of the error for which it has failed. */
  @Field(Code, optional) readonly failure: string | undefined;
  @Field(listOf(written(TransferLegDto))) readonly legs: readonly TransferLegDto[];
  @Field(Timestamp) readonly timestamp: string;
  @Field(TransferId, optional) readonly reverses: string | undefined;

  constructor({ transferId, status, legs, details, timestamp, rejection, reversedId, foreign }: Transfer) {
    super(details);
    this.id = `tr${transferId}`;
    this.status = status;
    this.failure = rejection?.code;
    this.legs = legs.map((leg) => new TransferLegDto(leg, foreign.has(leg.accountId)));
    this.timestamp = timestamp.toISOString();
    this.reverses = reversedId === undefined ? undefined : `tr${reversedId}`;
  }
}

export const DryTransferDto = ofDryRun(
  'TransferOfDryRun',
  TransferDto,
  ['id', 'status', 'failure', 'timestamp'],
  {
    legs: listOf(written(ofDryRun('TransferLegOfDryRun', TransferLegDto, ['transactionId']))),
  },
);

@Resource('TransferPage')
export class TransferPageDto {
  @Field(listOf(written(TransferDto))) readonly data!: readonly TransferDto[];
  @Field(NextCursor) readonly nextCursor!: string | null;
}
