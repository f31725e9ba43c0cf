import { applyDecorators } from '@nestjs/common';
import { ApiOperation } from '@nestjs/swagger';
import {
  errorResponse,
  invalidRequest,
  jsonResponse,
  money,
  READ_FAILURES,
  RequestIdHeader,
  RetryAfter,
} from '../http/openapi/components.js';
import { LedgerSummaryDto } from './summaries.dto.js';

const EXAMPLE = {
  asOf: '2025-05-02T10:24:02.123Z',
  currencies: [
    {
      ...{ currency: 'USD', accounts: 3 },
      accountsByStatus: { open: 2, debits_blocked: 0, frozen: 0, closed: 1 },
      ...{ balance: money('1350.25'), held: money('80.00'), inFlight: money('0.00') },
      ...{ credits: money('1600.25'), debits: money('250.00') },
    },
  ],
};

export const DocumentSummary = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags: ['Operations'],
      operationId: 'getLedgerSummary',
      summary: 'Get the totals of the bank',
      description:
        'What all accounts of each currency come to, and all credits and debits ever posted: the balance is the credits ' +
        'less the debits, exactly. It is made in the background about once a minute, and holds at least everything that ' +
        'was committed by `asOf`. [The totals of the bank](/docs/api#the-totals-of-the-bank).',
      responses: {
        200: jsonResponse('The totals.', LedgerSummaryDto, { summary: EXAMPLE }),
        400: invalidRequest('at', 'is not a known query parameter'),
        ...READ_FAILURES,
        503: errorResponse(['SUMMARY_NOT_READY', 'OVERLOADED'], { 'Retry-After': RetryAfter }),
      },
    }),
    RequestIdHeader(),
  );
