import { dataOf, splitCall, type Calls } from './calls.js';
import { BankError } from './errors.js';
import * as api from './generated/api/sdk.gen.js';
import type { BatchItem, BatchResult, BatchResults } from './generated/api/types.gen.js';
import type { CallOptions } from './transport.js';

export class Batches {
  constructor(private readonly calls: Calls) {}

  /**
   * Posts up to 10,000 items of any kind. Items without an `idempotencyKey` get one, so the batch can be sent again: items
   * that an earlier try has applied then say so, and `isApplied` is true of them, too.
   *
   * @param options with `atomic`, all items are applied or none
   * @returns one result for each item, in order, also where some or all were refused
   */
  async post(
    items: readonly BatchItem[],
    options: CallOptions & { readonly atomic?: boolean } = {},
  ): Promise<BatchResults> {
    const [call, { atomic }] = splitCall(options);
    const body = items.map((item) => ({
      ...item,
      idempotencyKey: item.idempotencyKey ?? crypto.randomUUID(),
    }));
    const query = atomic ? ({ atomic: 'true' } as const) : {};
    try {
      return await dataOf(
        api.postBatch({ ...this.calls.sending(call, { isRepeatable: true }), body, query }),
      );
    } catch (error) {
      // An atomic batch has the status of the item that stopped it.
      if (error instanceof BankError && Array.isArray(error.body)) return error.body as BatchResults;
      throw error;
    }
  }
}

/** Whether an item of a batch took effect: now, or when its batch was sent before. */
export function isApplied({ status, code }: BatchResult): boolean {
  return status < 300 || (code?.startsWith('DUPLICATE_') ?? false);
}
