import type { PipeTransform } from '@nestjs/common';
import { InvalidRequestError } from './invalid-request.js';
import { parsePositiveInteger } from './positive-integer.js';

/** The accountId of a path. */
export class AccountIdPipe implements PipeTransform<string, number> {
  transform(text: string): number {
    const accountId = parsePositiveInteger(text);
    if (accountId === undefined) throw InvalidRequestError.of('accountId', 'must be a positive integer');
    return accountId;
  }
}

/** The transactionId of a path: `txn131` names transaction 131. */
export class TransactionIdPipe implements PipeTransform<string, number> {
  transform(text: string): number {
    const transactionId = text.startsWith('txn') ? parsePositiveInteger(text.slice(3)) : undefined;
    if (transactionId === undefined) {
      throw InvalidRequestError.of('transactionId', 'must be "txn" and a positive integer, like txn131');
    }
    return transactionId;
  }
}
