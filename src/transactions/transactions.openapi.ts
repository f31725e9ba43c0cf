import { applyDecorators } from '@nestjs/common';
export const DocumentPosting = (): MethodDecorator => applyDecorators();
export const DocumentTransaction = (): MethodDecorator => applyDecorators();
export const DocumentTransactions = (): MethodDecorator => applyDecorators();
