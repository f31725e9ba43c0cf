import { applyDecorators } from '@nestjs/common';
export const DocumentLiveness = (): MethodDecorator => applyDecorators();
export const DocumentReadiness = (): MethodDecorator => applyDecorators();
export const DocumentMetrics = (): MethodDecorator => applyDecorators();
