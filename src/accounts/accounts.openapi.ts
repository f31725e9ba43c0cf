import { applyDecorators } from '@nestjs/common';
export const DocumentAccount = (): MethodDecorator => applyDecorators();
export const DocumentAccounts = (): MethodDecorator => applyDecorators();
export const DocumentBalance = (): MethodDecorator => applyDecorators();
export const DocumentOpening = (): MethodDecorator => applyDecorators();
