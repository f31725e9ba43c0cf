import type { Calls, ConditionalPostOptions, FilterOf, PostOptions } from './calls.js';
import { dataOf, pagesOf, postedOf, splitCall, splitPost } from './calls.js';
import * as api from './generated/api/sdk.gen.js';
import type {
  CaptureHold,
  Hold,
  ListHoldsData,
  PlaceHold,
  Receipt,
  Transfer,
  VoidHold,
} from './generated/api/types.gen.js';
import type { Pages } from './pages.js';
import type { CallOptions } from './transport.js';

export class Holds {
  constructor(private readonly calls: Calls) {}

  /** Reserves money of an account. */
  place(accountId: number, hold: PlaceHold & ConditionalPostOptions): Promise<Hold> {
    const [call, body] = splitPost(hold);
    return postedOf(api.placeHold({ ...this.calls.posting(call), path: { accountId }, body }));
  }

  /** @param holdId like `'hold131'` */
  get(holdId: string, call?: CallOptions): Promise<Hold> {
    return dataOf(api.getHold({ ...this.calls.reading(call), path: { holdId } }));
  }

  /** Of an account, newest first. */
  list(accountId: number, filter: FilterOf<ListHoldsData> & CallOptions = {}): Pages<Hold> {
    const [call, query] = splitCall(filter);
    return pagesOf((cursor) =>
      api.listHolds({ ...this.calls.reading(call), path: { accountId }, query: { ...query, ...cursor } }),
    );
  }

  /**
   * Takes all that remains or, with `amount`, a part, after which the rest is free again, unless `final` is false. With
   * `to` it goes to another account, and the answer is the transfer, which may be `pending`.
   */
  capture(holdId: string, capture: CaptureHold & PostOptions & { to: number | string }): Promise<Transfer>;
  capture(holdId: string, capture?: Omit<CaptureHold, 'to'> & PostOptions): Promise<Receipt>;
  capture(holdId: string, capture: CaptureHold & PostOptions = {}): Promise<Receipt | Transfer> {
    const [call, body] = splitPost(capture);
    return postedOf(api.captureHold({ ...this.calls.posting(call), path: { holdId }, body }));
  }

  /** Ends the hold: its money is available again. */
  void(holdId: string, details: VoidHold & PostOptions = {}): Promise<Hold> {
    const [call, body] = splitPost(details);
    // A duplicate leads to the transaction that ended the hold.
    const posting = this.calls.posting(call, { resultPath: `/holds/${holdId}` });
    return postedOf(api.voidHold({ ...posting, path: { holdId }, body }));
  }
}
