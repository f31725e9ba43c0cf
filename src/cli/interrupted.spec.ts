import { describe, expect, it } from '@jest/globals';
import { CommandError } from '../admin/command-error.js';
import { userMessage } from '../app/user-message.js';
import { exitCodeOf, InterruptedError } from './interrupted.js';

describe('exitCodeOf', () => {
  it('tells a failure from a signal', () => {
    expect(exitCodeOf(new Error())).toBe(1);
    expect(exitCodeOf(new InterruptedError('SIGINT'))).toBe(130);
    expect(exitCodeOf(new InterruptedError('SIGTERM'))).toBe(143);
  });
});

it.each([new CommandError('10 accounts were made'), new InterruptedError('SIGINT')])(
  '$name is told in its own words',
  (error) => {
    expect(userMessage(error)).toBe(error.message);
  },
);
