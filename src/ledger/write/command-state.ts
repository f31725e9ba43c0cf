/**
 * Where a command is, from its submission to its answer:
 * - waiting: in the queue, behind others of its accounts, or while one of them is busy or held. (It is ready once it is
 *   the first of all its accounts, which `command-queue.ts` keeps per account rather than per command.)
 * - in flight: in a batch at work
 * - parked: until a lock waiter is free. Another session has locked the row of one of its accounts
 * - waiting for a lock: a lock waiter has it
 * - done: answered
 */
export type CommandState = 'waiting' | 'in flight' | 'parked' | 'waiting for a lock' | 'done';

const NEXT: Readonly<Record<CommandState, readonly CommandState[]>> = {
  waiting: ['in flight', 'done'],
  'in flight': ['done', 'parked'],
  parked: ['waiting for a lock', 'done'],
  // A command over several accounts may have got the row that it waited for and found another one locked.
  'waiting for a lock': ['done', 'parked', 'waiting'],
  done: [],
};

/** @throws Error for a transition that must not happen, such as a second answer: a defect */
export function enter(state: CommandState, command: { state: CommandState }): void {
  if (!NEXT[command.state].includes(state))
    throw new Error(`a command went from ${command.state} to ${state}`);
  command.state = state;
}
