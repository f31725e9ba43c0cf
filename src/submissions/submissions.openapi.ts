import { applyDecorators } from '@nestjs/common';
import { ApiOperation } from '@nestjs/swagger';
import {
  errorResponse,
  invalidRequest,
  jsonResponse,
  money,
  pathOf,
  READ_FAILURES,
  RequestIdHeader,
} from '../http/openapi/components.js';
import { SubmissionDto, SubmissionPathDto } from './submissions.dto.js';

const ID =
  'WzAsMSwwLCI3MTYzNTIxNzM0NTE2NzgxIiwiIiwib3JkZXItNDcxMSJd.8fX3mPzDgQz1kq0m8m6pIY3rV2nVtq7lNw0b5J5o1xk';
const QUEUED = { id: ID, kind: 'transaction', accountId: 1, idempotencyKey: 'order-4711', status: 'queued' };
const POSTED = {
  ...QUEUED,
  status: 'posted',
  transaction: {
    ...{ id: 'txn131', accountId: 1, type: 'Deposit', amount: money('100.25'), newBalance: money('450.75') },
    ...{ newVersion: '8', timestamp: '2025-05-02T10:24:02.123Z' },
  },
};
const REFUSED = {
  ...QUEUED,
  status: 'refused',
  refusal: { status: 422, code: 'INSUFFICIENT_BALANCE', body: { error: 'Insufficient Balance' } },
};

export const DocumentSubmission = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags: ['Submissions'],
      operationId: 'getSubmission',
      summary: 'Get a submission',
      description:
        'What became of a request that was answered 202. Once it is `posted` or `refused`, it stays so.',
      responses: {
        200: jsonResponse('The submission.', SubmissionDto, {
          queued: QUEUED,
          posted: POSTED,
          refused: REFUSED,
        }),
        400: invalidRequest('submissionId', 'is too long'),
        404: errorResponse(['SUBMISSION_NOT_FOUND']),
        ...READ_FAILURES,
      },
    }),
    ...pathOf(SubmissionPathDto, { example: ID }),
    RequestIdHeader(),
  );
