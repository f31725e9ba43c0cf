import { formatMoney, type Money } from '../domain/money.js';
import { signed, type Statement } from './statement.js';
import { StatementLineDto } from './statements.dto.js';

const COLUMNS = [
  ...['time', 'type', 'description', 'reference', 'effectiveDate', 'amount', 'balance', 'currency'],
  ...['accountId', 'transactionId', 'transferId', 'holdId', 'reverses'],
];

/** Spreadsheets take a text that begins so for a formula. */
const FORMULA = /^[=+\-@\t\r\n＝＋－＠]/;

/** A text of a client: never a formula. */
const freeText = (text = '') => field(FORMULA.test(text) ? `'${text}` : text);

const field = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

const row = (fields: readonly string[]) => `${fields.join()}\r\n`;

/**
 * Writes a table as RFC 4180 describes it. Its first and last rows are the balances, so that one that was cut off shows
 * it. Amounts have a sign: the opening balance and all amounts come to the closing balance.
 */
export async function* writeCsv(statement: Statement): AsyncGenerator<string> {
  const { accountId } = statement.account;
  const { code, decimals } = statement.currency;
  const balance = (at: Date, word: string, money: Money) =>
    row([
      ...[at.toISOString(), word, '', '', '', '', formatMoney(money, decimals), code],
      ...[String(accountId), '', '', '', ''],
    ]);
  yield row(COLUMNS) + balance(statement.from, 'OpeningBalance', statement.openingBalance);
  for await (const chunk of statement.lines()) {
    const rows = chunk.map((movement) => {
      const line = new StatementLineDto(movement);
      return row([
        ...[line.timestamp, line.type, freeText(line.description), freeText(line.reference)],
        ...[line.effectiveDate ?? '', formatMoney(signed(movement), decimals), line.balance, code],
        ...[String(accountId), line.transactionId, line.transferId ?? ''],
        ...[line.holdId ?? '', line.reverses ?? ''],
      ]);
    });
    yield rows.join('');
  }
  yield balance(statement.to, 'ClosingBalance', statement.closingBalance);
}
