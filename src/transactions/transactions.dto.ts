import { requireScope } from '../access/access-errors.js';
import { MOVEMENT_SCOPES } from '../access/principal.js';
import type { Money as Cents } from '../domain/money.js';
import type { PostingCommand } from '../domain/command.js';
import type { MovementType, Transaction, TransactionType } from '../domain/transaction.js';
import { accountIdOf } from '../http/validation/account-path.dto.js';
import { Contract } from '../http/validation/contract.js';
import { parseIfMatch } from '../http/validation/entity-tags.js';
import { reads } from '../http/validation/incoming.js';
import {
  IsAmount,
  IsInstant,
  IsNullableField,
  IsNumericId,
  IsOptionalField,
  IsTransactionId,
  IsWord,
  readAmount,
  readTransactionId,
  readVersion,
  type Numeric,
} from '../http/validation/field-rules.js';
import { schema } from '../http/schema/registry.js';
import { millisecondFrom } from '../domain/instant.js';
import { PageQueryDto } from '../http/validation/page-query.dto.js';
import {
  AccountId,
  Field,
  listOf,
  Money,
  NextCursor,
  plainText,
  Resource,
  TransactionId,
  written,
} from '../http/openapi/resource.js';
import type { TransactionFilter } from '../ledger/read/ledger-reader.js';

/** Deposit and Withdraw; Credit and Debit are synonyms. */
const WORDS = ['Deposit', 'Withdraw', 'Credit', 'Debit'];

const TYPES: Readonly<Record<string, MovementType>> = {
  deposit: 'credit',
  credit: 'credit',
  withdraw: 'debit',
  debit: 'debit',
};

function readType(word: string): MovementType {
  const type = TYPES[word.toLowerCase()];
  if (!type) throw new Error('not validated');
  return type;
}

/** POST /accounts/{accountId}/transactions. The specification's field names are aliases of the short ones. */
export class PostTransactionDto {
  static readonly aliases: ReadonlyMap<string, string> = new Map([
    ['moneyWithdraw/Deposit', 'amount'],
    ['typeOfTransaction', 'type'],
    ['expectedversion', 'expectedVersion'],
  ]);

  @IsAmount()
  amount!: Numeric;

  @IsWord(
    WORDS,
    { description: '`Credit` means Deposit and `Debit` means Withdraw. Case does not matter.' },
    'TransactionTypeInput',
  )
  type!: string;

  @IsNullableField()
  @IsNumericId(
    'The version that the account must have. A string is taken too, so that `newVersion` can be sent back as it came.',
    'ExpectedVersion',
  )
  expectedVersion?: Numeric;
}

/** Reads the transaction to be posted from a validated body. */
export function readPosting({
  type,
  amount,
  expectedVersion,
}: PostTransactionDto): Pick<PostingCommand, 'type' | 'amount' | 'expectedVersion'> {
  return {
    type: readType(type),
    amount: readAmount(amount) ?? 0n,
    expectedVersion: readVersion(expectedVersion),
  };
}

const postTransaction = new Contract(PostTransactionDto);

/** Throws ForbiddenError, too. */
export const postingOf = reads(
  { body: postTransaction, headers: ['If-Match', 'Idempotency-Key'] },
  (request, _query, body): PostingCommand => {
    const { principal, idempotencyKey } = request;
    const { type, amount, expectedVersion } = readPosting(body);
    const accountId = accountIdOf(request);
    const allowedVersions = parseIfMatch(request.headers['if-match']);
    // Not in a guard: guards run before the body is read, but a malformed request must always get 400.
    requireScope(principal, MOVEMENT_SCOPES[type]);
    return { accountId, type, amount, expectedVersion, allowedVersions, idempotencyKey };
  },
);

const INSTANT =
  'An ISO 8601 date, or a date and time with its offset, like 2025-05-02T10:24:02Z; up to nanoseconds, all of which count.';

/** GET /accounts/{accountId}/transactions */
export class ListTransactionsDto extends PageQueryDto {
  @IsOptionalField()
  @IsWord(WORDS, { description: 'Only transactions of this type. Case does not matter.' })
  type?: string;

  @IsOptionalField()
  @IsInstant({ description: `Only transactions at this time or later. ${INSTANT}` })
  from?: string;

  @IsOptionalField()
  @IsInstant({ description: `Only transactions before this time. ${INSTANT}` })
  to?: string;
}

const listTransactions = new Contract(ListTransactionsDto, 'query parameter');

/** The requested page of an account's transactions. */
export interface ListingRequest {
  readonly accountId: number;
  readonly cursor: string | undefined;
  readonly limit: number;
  readonly filter: TransactionFilter;
}

export const listingRequestOf = reads(
  { query: listTransactions },
  (request, { cursor, limit, type, from, to }): ListingRequest => ({
    accountId: accountIdOf(request),
    cursor,
    limit: Number(limit),
    filter: {
      type: type === undefined ? undefined : readType(type),
      from: from === undefined ? undefined : millisecondFrom(from),
      to: to === undefined ? undefined : millisecondFrom(to),
    },
  }),
);

/** /transactions/{transactionId} */
export class TransactionPathDto {
  @IsTransactionId({ description: 'The id of a transaction.', example: 'txn1' })
  transactionId!: string;
}

const transactionPath = new Contract(TransactionPathDto);

export const transactionIdOf = reads(
  {},
  ({ params }): number => readTransactionId(transactionPath.read(params).transactionId) ?? 0,
);

export const TYPE_WORDS = {
  credit: 'Deposit',
  debit: 'Withdraw',
  hold: 'Hold',
  release: 'Release',
} as const satisfies Record<TransactionType, string>;

const Type = plainText(schema('TransactionType', { type: 'string', enum: Object.values(TYPE_WORDS) }));

const VersionText = plainText(
  schema('VersionText', {
    description: 'The version of an account, as a string.',
    type: 'string',
    pattern: '^[1-9]\\d*$',
  }),
);

/** What the answer to a posting and the transaction read later have in common. */
class Movement {
  @Field(Type) readonly type: string;
  @Field(Money) readonly amount: Cents;
  @Field(Money) readonly newBalance: Cents;
  @Field(VersionText) readonly newVersion: string;
  @Field(plainText({ type: 'string', format: 'date-time' })) readonly timestamp: string;

  constructor({ type, amount, balanceAfter, versionAfter, timestamp }: Transaction) {
    this.type = TYPE_WORDS[type];
    this.amount = amount;
    this.newBalance = balanceAfter;
    this.newVersion = String(versionAfter);
    this.timestamp = timestamp.toISOString();
  }
}

/** The answer to a posting, as the specification has it: newVersion is a string. */
@Resource('Receipt')
export class ReceiptDto extends Movement {
  @Field(TransactionId) readonly id: string;

  constructor(transaction: Transaction) {
    super(transaction);
    this.id = `txn${transaction.transactionId}`;
  }
}

/** A transaction as a resource: its receipt, and its account. */
@Resource('Transaction')
export class TransactionDto extends Movement {
  @Field(TransactionId) readonly id: string;
  @Field(AccountId) readonly accountId: number;

  constructor(transaction: Transaction) {
    super(transaction);
    this.id = `txn${transaction.transactionId}`;
    this.accountId = transaction.accountId;
  }
}

@Resource('TransactionPage')
export class TransactionPageDto {
  @Field(listOf(written(TransactionDto))) readonly data!: readonly TransactionDto[];
  @Field(NextCursor) readonly nextCursor!: string | null;
}
