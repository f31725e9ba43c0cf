import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';

/** Reads what a handler needs from a request: path, headers and body in one go. @throws InvalidRequestError */
export type Read<T> = (request: FastifyRequest) => T;

/**
 * Hands a handler what `read` makes of its request. One parameter without a pipe, because Nest makes promises for each
 * parameter that has one.
 */
export const Incoming = createParamDecorator(<T>(read: Read<T>, context: ExecutionContext): T =>
  read(context.getArgByIndex<FastifyRequest>(0)),
);
