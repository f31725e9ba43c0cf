import 'reflect-metadata';
import { describe, expect, it } from '@jest/globals';
import type { ExecutionContext, NestInterceptor } from '@nestjs/common';
import { InterceptorsConsumer } from '@nestjs/core/interceptors/interceptors-consumer.js';
import { isObservable, lastValueFrom, map, of, throwError } from 'rxjs';
import { intercept, runInterceptorsDirectly } from './interceptors.js';

class Controller {
  handle() {
    return 'handled';
  }
}
const controller = new Controller();

/** The answer to a request, and the steps that were taken for it. */
async function answerBy(
  run: InterceptorsConsumer['intercept'],
  makeInterceptors: (steps: string[]) => NestInterceptor[],
  handler?: () => Promise<unknown>,
) {
  const steps: string[] = [];
  const next = async () => {
    steps.push('handler');
    return handler ? handler() : controller.handle();
  };
  const answer = (async () => {
    const result: unknown = await run.call(
      new InterceptorsConsumer(),
      makeInterceptors(steps),
      [{ id: 'request' }],
      controller,
      // eslint-disable-next-line @typescript-eslint/unbound-method
      Controller.prototype.handle,
      () => next(),
      'http',
    );
    return isObservable(result) ? lastValueFrom(result) : result;
  })();
  const outcome = await answer.catch((error: unknown) => `thrown: ${(error as Error).message}`);
  return { outcome, steps };
}

const looking = (steps: string[], name: string): NestInterceptor => ({
  intercept(context: ExecutionContext, next) {
    const request = context.getArgByIndex<{ id: string }>(0);
    steps.push(`${name} ${request.id} ${context.getType()} ${context.getClass().name}`);
    return next.handle();
  },
});
const mapping = (text: string): NestInterceptor => ({
  intercept: (_, next) => next.handle().pipe(map((value) => `${text}(${String(value)})`)),
});

const CASES: Readonly<Record<string, (steps: string[]) => NestInterceptor[]>> = {
  'no interceptor': () => [],
  'one that looks at the request': (steps) => [looking(steps, 'first')],
  'two of them': (steps) => [looking(steps, 'first'), looking(steps, 'second')],
  'some that change the answer': () => [mapping('a'), mapping('b')],
  'a mixture': (steps) => [mapping('a'), looking(steps, 'first'), mapping('b')],
  'one that answers by itself': () => [{ intercept: () => of('its own') }],
  'one that throws': () => [
    {
      intercept: () => {
        throw new Error('refused');
      },
    },
  ],
  'one that fails later': () => [{ intercept: () => throwError(() => new Error('refused')) }],
  'one that is asynchronous': (steps) => [
    {
      intercept: async (_, next) => {
        await Promise.resolve();
        steps.push('waited');
        return next.handle();
      },
    },
  ],
};

describe('interceptors that run directly', () => {
  it.each(Object.entries(CASES))('behave as with Nest: %s', async (_, interceptors) => {
    const original = new InterceptorsConsumer().intercept.bind(new InterceptorsConsumer());
    const expected = await answerBy(original as never, interceptors);
    expect(await answerBy(intercept as never, interceptors)).toEqual(expected);
    const fails = () => Promise.reject(new Error('failed'));
    const failure = await answerBy(original as never, interceptors, fails);
    expect(await answerBy(intercept as never, interceptors, fails)).toEqual(failure);
  });

  it('replace the ones of Nest', () => {
    runInterceptorsDirectly();
    expect(InterceptorsConsumer.prototype).toHaveProperty('intercept', intercept);
  });
});
