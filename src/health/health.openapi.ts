import { applyDecorators } from '@nestjs/common';
import { ApiOperation } from '@nestjs/swagger';
import { errorCode, errorResponse, jsonResponse, plainResponse } from '../http/openapi/components.js';
import { LivenessDto, ReadinessDto } from './health.dto.js';

const tags = ['Operations'];

const UP = { status: 'up' };
const NO_ANSWER = { status: 'down', message: 'the database does not answer' };

export const DocumentLiveness = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'getLiveness',
      summary: 'Is the process alive?',
      description: 'It does not look at the database: restarting the service would not repair that.',
      responses: { 200: jsonResponse('The process answers.', LivenessDto, { alive: { status: 'ok' } }) },
    }),
  );

export const DocumentReadiness = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'getReadiness',
      summary: 'Can the service do its work?',
      responses: {
        200: jsonResponse(
          'The service is not stopping, and a database answers: all of them, or `degraded` not all. The accounts of a ' +
            'shard that is down are answered 408 or 503, all others are served.',
          ReadinessDto,
          {
            ready: {
              status: 'ok',
              info: { service: UP, 'shard-0': UP },
              error: {},
              details: { service: UP, 'shard-0': UP },
            },
            degraded: {
              status: 'degraded',
              info: { service: UP, 'shard-0': UP },
              error: { 'shard-1': NO_ANSWER },
              details: { service: UP, 'shard-0': UP, 'shard-1': NO_ANSWER },
            },
          },
        ),
        503: jsonResponse(
          'No database answers, or the service is stopping. The body is always this report.',
          ReadinessDto,
          {
            notReady: {
              status: 'error',
              info: { service: UP },
              error: { 'shard-0': NO_ANSWER },
              details: { service: UP, 'shard-0': NO_ANSWER },
            },
          },
          { 'X-Error-Code': errorCode(['NOT_READY']) },
        ),
      },
    }),
  );

export const DocumentMetrics = (): MethodDecorator =>
  applyDecorators(
    ApiOperation({
      tags,
      operationId: 'getMetrics',
      summary: 'Metrics for Prometheus',
      description: 'With `MANAGEMENT_PORT`, they are on that port only.',
      responses: {
        200: plainResponse(
          'All metrics in the text format of Prometheus.',
          {},
          {
            'text/plain': {
              schema: { type: 'string' },
              example:
                '# HELP bank_ledger_transactions_total Transactions posted\n' +
                '# TYPE bank_ledger_transactions_total counter\n' +
                'bank_ledger_transactions_total{shard="0"} 131\n',
            },
          },
        ),
        404: errorResponse(['NOT_FOUND'], {}, { description: 'The metrics are on `MANAGEMENT_PORT`.' }),
      },
    }),
  );
