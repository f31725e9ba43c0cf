import { requireScope } from '../access/access-errors.js';
import { MOVEMENT_SCOPES } from '../access/principal.js';
import type { Money as Cents } from '../domain/money.js';
import type { PostingCommand, ReversalCommand } from '../domain/command.js';
import type { Transaction, TransactionType } from '../domain/transaction.js';
import { accountIdOf } from '../http/validation/account-path.dto.js';
import { Contract } from '../http/validation/contract.js';
import { DetailsDto, DryRunQueryDto, isDryRun, readDetails } from '../http/validation/details.dto.js';
import { parseIfMatch } from '../http/validation/entity-tags.js';
import { reads } from '../http/validation/incoming.js';
import {
  IsExpectedVersion,
  IsMovementType,
  MOVEMENT_WORDS,
  readMovementType,
} from '../http/validation/movements.js';
import {
  INSTANT_FORM,
  IsAmount,
  IsIdempotencyKey,
  IsInstant,
  IsLimitParameter,
  IsLine,
  IsNullableField,
  IsOptionalField,
  IsTransactionId,
  IsWord,
  readAmount,
  readLimit,
  readTransactionId,
  readVersion,
  type Numeric,
} from '../http/validation/field-rules.js';
import { readIdempotencyKey } from '../http/validation/idempotency-key.js';
import { millisecondFrom } from '../domain/instant.js';
import { listingIn, PageQueryDto, type Listing } from '../http/validation/page-query.dto.js';
import { readsReversal } from '../http/validation/reversal.dto.js';
import {
  AccountId,
  Field,
  listOf,
  Money,
  HoldId,
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
import { Described } from '../http/openapi/described.js';
import { ReceiptDto, TYPE_WORDS, TypeWord } from '../http/openapi/receipt.js';
import type { TransactionFilter } from '../ledger/read/ledger-reader.js';

/** POST /accounts/{accountId}/transactions. The specification's field names are aliases of the short ones. */
export class PostTransactionDto extends DetailsDto {
  static readonly aliases: ReadonlyMap<string, string> = new Map([
    ['moneyWithdraw/Deposit', 'amount'],
    ['typeOfTransaction', 'type'],
    ['expectedversion', 'expectedVersion'],
  ]);

  @IsAmount()
  amount!: Numeric;

  @IsMovementType
  type!: string;

  @IsNullableField()
  @IsExpectedVersion
  expectedVersion?: Numeric;
}

/** Reads the transaction to be posted from a validated body. */
export function readPosting({
  type,
  amount,
  expectedVersion,
}: PostTransactionDto): Pick<PostingCommand, 'type' | 'amount' | 'expectedVersion'> {
  return {
    type: readMovementType(type),
    amount: readAmount(amount) ?? 0n,
    expectedVersion: readVersion(expectedVersion),
  };
}

const postTransaction = new Contract(PostTransactionDto);
const dryRunQuery = new Contract(DryRunQueryDto, 'query parameter');

/** Throws ForbiddenError, too. */
export const postingOf = reads(
  { query: dryRunQuery, body: postTransaction, headers: ['If-Match', 'Idempotency-Key', 'Prefer'] },
  (request, query, body): PostingCommand => {
    const { principal, idempotencyKey } = request;
    const posting = readPosting(body);
    const accountId = accountIdOf(request);
    const allowedVersions = parseIfMatch(request.headers['if-match']);
    // Not in a guard: guards run before the body is read, but a malformed request must always get 400.
    requireScope(principal, MOVEMENT_SCOPES[posting.type]);
    const details = readDetails(body, principal);
    return { ...posting, accountId, allowedVersions, idempotencyKey, details, dryRun: isDryRun(query) };
  },
);

/** A reversal, before it is known which account it concerns. */
export type Reversal = Omit<ReversalCommand, 'accountId'>;

/** Throws ForbiddenError, too. */
export const reversalOf = readsReversal((params): Pick<Reversal, 'type' | 'transactionId'> => ({
  type: 'reversal',
  transactionId: transactionIdIn(params),
}));

/** GET /accounts/{accountId}/transactions */
export class ListTransactionsDto extends PageQueryDto {
  @IsOptionalField()
  @IsWord([...MOVEMENT_WORDS, TYPE_WORDS.hold, TYPE_WORDS.release], {
    description: 'Only transactions of this type. Case does not matter.',
  })
  type?: string;

  @IsOptionalField()
  @IsInstant({ description: `Only transactions at this time or later. ${INSTANT_FORM}` })
  from?: string;

  @IsOptionalField()
  @IsInstant({ description: `Only transactions before this time. ${INSTANT_FORM}` })
  to?: string;

  @IsOptionalField()
  @IsLimitParameter('Only transactions of this amount or more.')
  minAmount?: string;

  @IsOptionalField()
  @IsLimitParameter('Only transactions of this amount or less.')
  maxAmount?: string;

  @IsOptionalField()
  @IsLine(255, { description: 'Only transactions with exactly this reference.' })
  reference?: string;

  @IsOptionalField()
  @IsIdempotencyKey({ description: 'Only the transaction that was posted with this key.' })
  idempotencyKey?: string;
}

function readType(word: string): TransactionType {
  const lowerCase = word.toLowerCase();
  return lowerCase === 'hold' || lowerCase === 'release' ? lowerCase : readMovementType(word);
}

const listTransactions = new Contract(ListTransactionsDto, 'query parameter');

/** The requested page of an account's transactions. */
export interface ListingRequest extends Listing {
  readonly filter: TransactionFilter;
}

export const listingRequestOf = reads({ query: listTransactions }, (request, query): ListingRequest => ({
  ...listingIn(request, query),
  filter: readFilter(query),
}));

function readFilter(query: ListTransactionsDto): TransactionFilter {
  const { type, from, to, idempotencyKey } = query;
  return {
    type: type === undefined ? undefined : readType(type),
    from: from === undefined ? undefined : millisecondFrom(from),
    to: to === undefined ? undefined : millisecondFrom(to),
    minAmount: readLimit(query.minAmount),
    maxAmount: readLimit(query.maxAmount),
    reference: query.reference,
    idempotencyKey: idempotencyKey === undefined ? undefined : readIdempotencyKey(idempotencyKey),
  };
}

/** /transactions/{transactionId} */
export class TransactionPathDto {
  @IsTransactionId({ description: 'The id of a transaction.', example: 'txn1' })
  transactionId!: string;
}

const transactionPath = new Contract(TransactionPathDto);

const transactionIdIn = (params: unknown): number =>
  readTransactionId(transactionPath.read(params).transactionId) ?? 0;

export const transactionIdOf = reads({}, ({ params }): number => transactionIdIn(params));

const optional = { optional: true };

/** A transaction as a resource: its receipt, its account, and what it has to do with others. */
@Resource('Transaction')
export class TransactionDto extends Described {
  @Field(TransactionId) readonly id: string;
  @Field(AccountId) readonly accountId: number;
  @Field(TypeWord) readonly type: string;
  @Field(Money) readonly amount: Cents;
  @Field(SignedMoney) readonly newBalance: Cents;
  @Field(VersionText) readonly newVersion: string;
  @Field(Timestamp) readonly timestamp: string;
  @Field(Money, optional) readonly newHeld: Cents | undefined;
  @Field(HoldId, optional) readonly holdId: string | undefined;
  @Field(TransferId, optional) readonly transferId: string | undefined;
  @Field(TransactionId, optional) readonly reverses: string | undefined;

  constructor(transaction: Transaction) {
    super(transaction.details);
    const { accountId, type, heldAfter, holdId, transferId, reversesId } = transaction;
    const receipt = new ReceiptDto(transaction);
    this.id = receipt.id;
    this.accountId = accountId;
    this.type = receipt.type;
    this.amount = receipt.amount;
    this.newBalance = receipt.newBalance;
    this.newVersion = receipt.newVersion;
    this.timestamp = receipt.timestamp;
    // Also when a release has just brought it to zero.
    this.newHeld = heldAfter > 0n || type === 'release' ? heldAfter : undefined;
    this.holdId = holdId === undefined ? undefined : `hold${holdId}`;
    this.transferId = transferId === undefined ? undefined : `tr${transferId}`;
    this.reverses = reversesId === undefined ? undefined : `txn${reversesId}`;
  }
}

export const DryTransactionDto = ofDryRun('TransactionOfDryRun', TransactionDto, ['id', 'timestamp']);

@Resource('TransactionPage')
export class TransactionPageDto {
  @Field(listOf(written(TransactionDto))) readonly data!: readonly TransactionDto[];
  @Field(NextCursor) readonly nextCursor!: string | null;
}
