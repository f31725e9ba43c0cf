import { describe, expect, it } from '@jest/globals';
import { BatchSlots } from './batch-slots.js';

describe('BatchSlots', () => {
  it('lets no more in than there are slots, and tells those who wait in their order', () => {
    const slots = new BatchSlots(1);
    const told: string[] = [];
    const giveBack = slots.take(() => told.push('never'));
    for (const name of ['a', 'b']) expect(slots.take(() => told.push(name))).toBeUndefined();
    giveBack?.();
    expect(told).toEqual(['a', 'b']);
  });

  it('tells the next when who was told takes nothing: nobody waits beside a free slot', () => {
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

  it('takes a slot back once, however often it is given', () => {
    const slots = new BatchSlots(1);
    const giveBack = slots.take(() => undefined);
    giveBack?.();
    giveBack?.();
    expect(slots.take(() => undefined)).toBeDefined();
    expect(slots.take(() => undefined)).toBeUndefined();
  });

  it('does not wait for a batch that is slow', async () => {
    const slots = new BatchSlots(1);
    const slow = slots.take(() => undefined);
    await new Promise<void>((resolve) => slots.take(resolve));
    const quick = slots.take(() => undefined);
    expect(quick).toBeDefined();
    slow?.();
    // What the slow one gives back now is not the quick one's slot.
    expect(slots.take(() => undefined)).toBeUndefined();
    quick?.();
  });
});
