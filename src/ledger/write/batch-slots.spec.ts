import { describe, expect, it } from '@jest/globals';
import { BatchSlots } from './batch-slots.js';

describe('BatchSlots', () => {
  it('gives out no more slots than there are, and calls the waiters in their order', () => {
    const slots = new BatchSlots(1);
    const told: string[] = [];
    const giveBack = slots.take(() => told.push('never'));
    for (const name of ['a', 'b']) expect(slots.take(() => told.push(name))).toBeUndefined();
    giveBack?.();
    expect(told).toEqual(['a', 'b']);
  });

  it('calls the next waiter when the one called takes nothing, so that no free slot is left unused', () => {
    const slots = new BatchSlots(1);
    const told: string[] = [];
    const giveBack = slots.take(() => undefined);
    const takes = () => void (slots.take(() => undefined) && told.push('takes it'));
    slots.take(() => told.push('has nothing to do'));
    slots.take(takes);
    slots.take(() => told.push('comes too late'));
    giveBack?.();
    expect(told).toEqual(['has nothing to do', 'takes it']);
  });

  it('takes a slot back once, however often it is given back', () => {
    const slots = new BatchSlots(1);
    const giveBack = slots.take(() => undefined);
    giveBack?.();
    giveBack?.();
    expect(slots.take(() => undefined)).toBeDefined();
    expect(slots.take(() => undefined)).toBeUndefined();
  });

  it('does not wait for a slow batch', async () => {
    const slots = new BatchSlots(1);
    const slow = slots.take(() => undefined);
    await new Promise<void>((resolve) => slots.take(resolve));
    const quick = slots.take(() => undefined);
    expect(quick).toBeDefined();
    slow?.();
    // The slow batch must not give back the slot of the quick one.
    expect(slots.take(() => undefined)).toBeUndefined();
    quick?.();
  });
});
