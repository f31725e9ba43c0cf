import { applyDecorators } from '@nestjs/common';
import { ApiOperation } from '@nestjs/swagger';
import {
  ACCOUNT_NOT_FOUND,
  AccountIdParameter,
  errorResponse,
  invalidRequest,
  jsonResponse,
  money,
  queryOf,
  READ_FAILURES,
  RequestIdHeader,
} from '../http/openapi/components.js';
import { MEDIA_TYPES, StatementDto, StatementQueryDto } from './statements.dto.js';

const LINE = {
  ...{ transactionId: 'txn131', timestamp: '2025-05-02T10:24:02.123Z', type: 'Deposit' },
  ...{ amount: money('100.25'), balance: money('450.75'), version: '8', description: 'Rent for May' },
};

const EXAMPLE = {
  ...{ accountId: 1, currency: 'USD' },
  ...{ from: '2025-05-01T00:00:00.000Z', to: '2025-06-01T00:00:00.000Z' },
  ...{ openingBalance: money('350.5'), closingBalance: money('450.75') },
  ...{ totalCredits: money('100.25'), totalDebits: money('0.00'), credits: 1, debits: 0 },
  ...{ owner: 'ada', lines: [LINE] },
};

const ContentDisposition = {
  description: 'A name for the file.',
  schema: { type: 'string' as const },
  example: 'attachment; filename="statement-1-2025-05-01-2025-06-01.json"',
};

const STATEMENT = jsonResponse(
  'The statement.',
  StatementDto,
  { statement: EXAMPLE },
  { 'Content-Disposition': ContentDisposition },
);

const ROWS =
  'time,type,description,reference,effectiveDate,amount,balance,currency,accountId,transactionId,transferId,holdId,reverses\r\n' +
  '2025-05-01T00:00:00.000Z,OpeningBalance,,,,,350.50,USD,1,,,,\r\n' +
  '2025-05-02T10:24:02.123Z,Deposit,Rent for May,,,100.25,450.75,USD,1,txn131,,,\r\n' +
  '2025-06-01T00:00:00.000Z,ClosingBalance,,,,,450.75,USD,1,,,,\r\n';

const asText = (description: string, example?: string) => ({
  schema: { type: 'string' as const, description },
  ...(example !== undefined && { example }),
});

export const DocumentStatement = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags: ['Transactions'],
      operationId: 'getStatement',
      summary: 'Get a statement of an account',
      description:
        'The balance at `from`, the deposits and withdrawals from then until before `to`, and the balance at `to`. ' +
        'Holds and releases move no money, so they are no lines. The opening balance and all lines come to the closing ' +
        'balance. An interval has at most 100,000 transactions, and 10,000 for a PDF, holds and releases included. ' +
        'All times are in UTC. [Statements](/docs/api#statements).',
      responses: {
        200: {
          ...STATEMENT,
          content: {
            ...STATEMENT.content,
            [MEDIA_TYPES.csv]: asText('A table as RFC 4180 describes it.', ROWS),
            [MEDIA_TYPES.pdf]: asText('A document for people.'),
            [MEDIA_TYPES['camt.053']]: asText('ISO 20022, camt.053.001.08.'),
          },
        },
        400: invalidRequest('from', 'must be earlier than to'),
        404: ACCOUNT_NOT_FOUND,
        422: errorResponse(['STATEMENT_TOO_LONG']),
        ...READ_FAILURES,
      },
    }),
    ...AccountIdParameter(),
    ...queryOf(StatementQueryDto),
    RequestIdHeader(),
  );
