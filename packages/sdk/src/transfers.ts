import type { Calls, PostOptions } from './calls.js';
import { dataOf, pagesOf, postedOf, splitCall, splitPost } from './calls.js';
import * as api from './generated/api/sdk.gen.js';
import type {
  ListTransfersData,
  PostTransferBetweenTwo,
  PostTransferWithLegs,
  ReverseTransfer,
  Transfer,
} from './generated/api/types.gen.js';
import type { FilterOf } from './calls.js';
import type { Pages } from './pages.js';
import { poll, type PollOptions } from './poll.js';
import type { CallOptions } from './transport.js';

export class Transfers {
  constructor(private readonly calls: Calls) {}

  /** @returns the transfer; between shards its `status` may still be `pending`: see `settled` */
  create(transfer: (PostTransferBetweenTwo | PostTransferWithLegs) & PostOptions): Promise<Transfer> {
    const [call, body] = splitPost(transfer);
    return postedOf(
      api.postTransfer({
        ...this.calls.posting(call),
        body: body as PostTransferBetweenTwo | PostTransferWithLegs,
      }),
    );
  }

  /** @param transferId like `'tr131'` */
  get(transferId: string, call?: CallOptions): Promise<Transfer> {
    return dataOf(api.getTransfer({ ...this.calls.reading(call), path: { transferId } }));
  }

  /** Of an account, newest first. */
  list(accountId: number, filter: FilterOf<ListTransfersData> & CallOptions = {}): Pages<Transfer> {
    const [call, query] = splitCall(filter);
    return pagesOf((cursor) =>
      api.listTransfers({ ...this.calls.reading(call), path: { accountId }, query: { ...query, ...cursor } }),
    );
  }

  /** Posts the opposite: all that is left or, with `amount`, a part. It may be `pending` like any transfer. */
  reverse(transferId: string, reversal: ReverseTransfer & PostOptions = {}): Promise<Transfer> {
    const [call, body] = splitPost(reversal);
    return postedOf(api.reverseTransfer({ ...this.calls.posting(call), path: { transferId }, body }));
  }

  /**
   * Waits until a transfer is `completed` or `failed`, which its `status` says, and its `failure` why.
   *
   * @throws TimeoutError it is still pending
   */
  async settled(transfer: Transfer | string, options?: PollOptions): Promise<Transfer> {
    if (typeof transfer !== 'string' && transfer.status !== 'pending') return transfer;
    const transferId = typeof transfer === 'string' ? transfer : transfer.id;
    const isSettled = ({ status }: Transfer) => status !== 'pending';
    return poll((call) => this.get(transferId, call), isSettled, options);
  }
}
