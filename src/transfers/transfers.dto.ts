import { MAX_LEGS, type Leg, type TransferCommand } from '../domain/command.js';
import { MAX_ID } from '../domain/account.js';
import type { Money as Cents } from '../domain/money.js';
import type { Transaction } from '../domain/transaction.js';
import type { Transfer, TransferReversal } from '../domain/transfer.js';
import { Described } from '../http/openapi/described.js';
import { TYPE_WORDS, TypeWord } from '../http/openapi/receipt.js';
import {
  AccountId,
  Field,
  listOf,
  Money,
  NextCursor,
  ofDryRun,
  Resource,
  SignedMoney,
  Timestamp,
  TransactionId,
  TransferId,
  VersionText,
  written,
} from '../http/openapi/resource.js';
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
    { description: 'Each account at most once. The withdrawals must be as much as the deposits.' },
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
  return 'legs' in body ? checkedLegs(body.legs.map(readLeg)) : legsBetween(body);
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

function checkedLegs(legs: readonly Leg[]): readonly Leg[] {
  const places = new Map<number, number>();
  for (const [index, { accountId }] of legs.entries()) {
    const other = places.get(accountId);
    if (other !== undefined) {
      throw InvalidRequestError.of(`legs[${index}].accountId`, `is the account of legs[${other}], too`);
    }
    places.set(accountId, index);
  }
  const sumOf = (type: Leg['type']) =>
    legs.reduce((sum, leg) => (leg.type === type ? sum + leg.amount : sum), 0n);
  if (sumOf('debit') !== sumOf('credit')) {
    throw InvalidRequestError.of('legs', 'must withdraw as much as they deposit');
  }
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

@Resource('TransferLeg', {
  description: 'A transaction of a transfer. Only who may see the account learns its balance and version.',
})
export class TransferLegDto {
  @Field(TransactionId) readonly transactionId: string;
  @Field(AccountId) readonly accountId: number;
  @Field(TypeWord) readonly type: string;
  @Field(Money) readonly amount: Cents;
  @Field(SignedMoney, optional) readonly newBalance: Cents | undefined;
  @Field(VersionText, optional) readonly newVersion: string | undefined;

  constructor(
    { transactionId, accountId, type, amount, balanceAfter, versionAfter }: Transaction,
    isForeign: boolean,
  ) {
    this.transactionId = `txn${transactionId}`;
    this.accountId = accountId;
    this.type = TYPE_WORDS[type];
    this.amount = amount;
    this.newBalance = isForeign ? undefined : balanceAfter;
    this.newVersion = isForeign ? undefined : String(versionAfter);
  }
}

@Resource('Transfer')
export class TransferDto extends Described {
  @Field(TransferId) readonly id: string;
  @Field(listOf(written(TransferLegDto))) readonly legs: readonly TransferLegDto[];
  @Field(Timestamp) readonly timestamp: string | undefined;
  @Field(TransferId, optional) readonly reverses: string | undefined;

  constructor({ transferId, legs, reversedId, foreign }: Transfer) {
    const [first] = legs;
    super(first?.details);
    this.id = `tr${transferId}`;
    this.legs = legs.map((leg) => new TransferLegDto(leg, foreign.has(leg.accountId)));
    this.timestamp = first?.timestamp.toISOString();
    this.reverses = reversedId === undefined ? undefined : `tr${reversedId}`;
  }
}

export const DryTransferDto = ofDryRun('TransferOfDryRun', TransferDto, ['id', 'timestamp'], {
  legs: listOf(written(ofDryRun('TransferLegOfDryRun', TransferLegDto, ['transactionId']))),
});

@Resource('TransferPage')
export class TransferPageDto {
  @Field(listOf(written(TransferDto))) readonly data!: readonly TransferDto[];
  @Field(NextCursor) readonly nextCursor!: string | null;
}
