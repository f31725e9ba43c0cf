import { millisecondFrom } from '../domain/instant.js';
import { formatMoney } from '../domain/money.js';
import {
  AccountId,
  Currency,
  Field,
  HoldId,
  integer,
  listOf,
  Money,
  plainText,
  Resource,
  SignedMoney,
  text,
  Timestamp,
  TotalMoney,
  TransactionId,
  TransferId,
  VersionText,
  written,
} from '../http/openapi/resource.js';
import { TYPE_WORDS } from '../http/openapi/receipt.js';
import { schema } from '../http/schema/registry.js';
import { accountIdOf } from '../http/validation/account-path.dto.js';
import { Contract } from '../http/validation/contract.js';
import { IsInstant, IsOptionalField, IsWord, Owner } from '../http/validation/field-rules.js';
import { reads } from '../http/validation/incoming.js';
import { InvalidRequestError } from '../http/validation/invalid-request.js';
import {
  CSV_MEDIA_TYPE,
  JSON_MEDIA_TYPE,
  PDF_MEDIA_TYPE,
  preferredType,
  representationOf,
  XML_MEDIA_TYPE,
} from '../http/validation/representation.js';
import type { Movement } from '../ledger/read/statement-reader.js';
import type { Statement } from './statement.js';

/** The forms of a statement, as `format` names them, and the media type of each. */
export const MEDIA_TYPES = {
  json: JSON_MEDIA_TYPE,
  csv: CSV_MEDIA_TYPE,
  pdf: PDF_MEDIA_TYPE,
  'camt.053': XML_MEDIA_TYPE,
} as const;

export type StatementFormat = keyof typeof MEDIA_TYPES;

const FORMATS = Object.keys(MEDIA_TYPES) as StatementFormat[];

const INSTANT =
  'An ISO 8601 date (midnight in UTC), or a date and time with its offset, like 2025-05-02T10:24:02Z.';

/** GET /accounts/{accountId}/statement */
export class StatementQueryDto {
  @IsInstant({ description: `The beginning of the interval. ${INSTANT}`, example: '2025-05-01' })
  from!: string;

  @IsInstant({
    description: `The end of the interval, which no longer belongs to it, and is not in the future. ${INSTANT}`,
    example: '2025-06-01',
  })
  to!: string;

  @IsOptionalField()
  @IsWord(FORMATS, {
    description: 'The form of the statement, whatever `Accept` says. Case does not matter.',
  })
  format?: string;
}

export interface StatementRequest {
  readonly accountId: number;
  readonly from: Date;
  readonly to: Date;
  readonly format: StatementFormat;
  /** Of a statement in JSON. */
  readonly textMoney: boolean;
}

export const statementRequestOf = reads(
  { query: new Contract(StatementQueryDto, 'query parameter') },
  (request, query): StatementRequest => {
    const accountId = accountIdOf(request);
    const [from, to] = [millisecondFrom(query.from), millisecondFrom(query.to)];
    if (from >= to) throw InvalidRequestError.of('from', 'must be earlier than to');
    const { textMoney } = representationOf(request.headers);
    const preferred = preferredType(request.headers, Object.values(MEDIA_TYPES));
    const format =
      (query.format?.toLowerCase() as StatementFormat | undefined) ??
      FORMATS.find((each) => MEDIA_TYPES[each] === preferred) ??
      'json';
    return { accountId, from, to, format, textMoney: format === 'json' && textMoney };
  },
);

const optional = { optional: true };

const MovementWord = plainText(
  schema('MovementType', { type: 'string', enum: [TYPE_WORDS.credit, TYPE_WORDS.debit] }),
);

@Resource('StatementLine')
export class StatementLineDto {
  @Field(TransactionId) readonly transactionId: string;
  @Field(Timestamp) readonly timestamp: string;
  @Field(MovementWord) readonly type: string;
  @Field(Money) readonly amount: string;
  /** The balance after it. */
  @Field(SignedMoney) readonly balance: string;
  @Field(VersionText) readonly version: string;

  @Field(text({ type: 'string', description: 'What it is for.' }), optional)
  readonly description: string | undefined;

  @Field(text({ type: 'string', description: "The client's own name for it." }), optional)
  readonly reference: string | undefined;

  @Field(plainText({ type: 'string', format: 'date' }), optional)
  readonly effectiveDate: string | undefined;

  @Field(TransferId, optional) readonly transferId: string | undefined;
  @Field(HoldId, optional) readonly holdId: string | undefined;
  @Field(TransactionId, optional) readonly reverses: string | undefined;

  constructor(line: Movement) {
    const { transferId, holdId, reversesId, details } = line;
    this.transactionId = `txn${line.transactionId}`;
    this.timestamp = line.timestamp.toISOString();
    this.type = TYPE_WORDS[line.type];
    this.amount = formatMoney(line.amount, line.decimals);
    this.balance = formatMoney(line.balanceAfter, line.decimals);
    this.version = String(line.versionAfter);
    this.description = details?.description;
    this.reference = details?.reference;
    this.effectiveDate = details?.effectiveDate;
    this.transferId = transferId === undefined ? undefined : `tr${transferId}`;
    this.holdId = holdId === undefined ? undefined : `hold${holdId}`;
    this.reverses = reversesId === undefined ? undefined : `txn${reversesId}`;
  }
}

const Count = integer({ type: 'integer', minimum: 0 });

/** A statement without its lines, which follow while they are read. */
@Resource('StatementHead')
export class StatementHeadDto {
  @Field(AccountId) readonly accountId: number;
  @Field(Currency) readonly currency: string;
  @Field(Timestamp) readonly from: string;
  @Field(Timestamp) readonly to: string;
  @Field(SignedMoney) readonly openingBalance: string;
  @Field(SignedMoney) readonly closingBalance: string;
  @Field(TotalMoney) readonly totalCredits: string;
  @Field(TotalMoney) readonly totalDebits: string;
  @Field(Count) readonly credits: number;
  @Field(Count) readonly debits: number;
  @Field(text(Owner), optional) readonly owner: string | undefined;
  @Field(text({ type: 'string', description: "The client's own name for the account." }), optional)
  readonly reference: string | undefined;

  constructor({ account, currency, from, to, turnover, openingBalance, closingBalance }: Statement) {
    const { code, decimals } = currency;
    this.accountId = account.accountId;
    this.currency = code;
    this.from = from.toISOString();
    this.to = to.toISOString();
    this.openingBalance = formatMoney(openingBalance, decimals);
    this.closingBalance = formatMoney(closingBalance, decimals);
    this.totalCredits = formatMoney(turnover.credit.sum, decimals);
    this.totalDebits = formatMoney(turnover.debit.sum, decimals);
    this.credits = turnover.credit.count;
    this.debits = turnover.debit.count;
    this.owner = account.owner;
    this.reference = account.reference;
  }
}

/** A whole statement, as the OpenAPI document describes it. */
@Resource('Statement')
export class StatementDto extends StatementHeadDto {
  @Field(listOf(written(StatementLineDto), { description: 'Oldest first.' }))
  readonly lines!: readonly StatementLineDto[];
}
