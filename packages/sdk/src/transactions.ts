import type { Calls, ConditionalPostOptions, FilterOf, PostOptions } from './calls.js';
import { dataOf, pagesOf, postedOf, splitCall, splitPost } from './calls.js';
import * as api from './generated/api/sdk.gen.js';
import type {
  ListTransactionsData,
  PostTransactionShortNames,
  Receipt,
  ReverseTransaction,
  Transaction,
} from './generated/api/types.gen.js';
import type { Pages } from './pages.js';
import type { CallOptions } from './transport.js';

/** What a deposit or a withdrawal may say besides its amount. */
export type PostingOptions = Omit<PostTransactionShortNames, 'amount' | 'type'> & ConditionalPostOptions;

export class Transactions {
  constructor(private readonly calls: Calls) {}

  /** @param amount like `'49.00'` */
  deposit(accountId: number, amount: string, options?: PostingOptions): Promise<Receipt> {
    return this.post(accountId, { ...options, amount, type: 'Deposit' });
  }

  /** @param amount like `'49.00'` */
  withdraw(accountId: number, amount: string, options?: PostingOptions): Promise<Receipt> {
    return this.post(accountId, { ...options, amount, type: 'Withdraw' });
  }

  post(accountId: number, posting: PostTransactionShortNames & ConditionalPostOptions): Promise<Receipt> {
    const [call, body] = splitPost(posting);
    return postedOf(api.postTransaction({ ...this.calls.posting(call), path: { accountId }, body }));
  }

  /** @param transactionId like `'txn131'` */
  get(transactionId: string, call?: CallOptions): Promise<Transaction> {
    return dataOf(api.getTransaction({ ...this.calls.reading(call), path: { transactionId } }));
  }

  /** Newest first. */
  list(accountId: number, filter: FilterOf<ListTransactionsData> & CallOptions = {}): Pages<Transaction> {
    const [call, query] = splitCall(filter);
    return pagesOf((cursor) =>
      api.listTransactions({
        ...this.calls.reading(call),
        path: { accountId },
        query: { ...query, ...cursor },
      }),
    );
  }

  /** Posts the opposite: all that is left or, with `amount`, a part. */
  reverse(transactionId: string, reversal: ReverseTransaction & PostOptions = {}): Promise<Transaction> {
    const [call, body] = splitPost(reversal);
    return postedOf(api.reverseTransaction({ ...this.calls.posting(call), path: { transactionId }, body }));
  }
}
