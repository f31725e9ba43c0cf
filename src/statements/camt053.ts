import { randomUUID } from 'node:crypto';
import type { Currency } from '../domain/currency.js';
import { formatMoney, maxMoney, type Money } from '../domain/money.js';
import { TYPE_WORDS } from '../http/openapi/receipt.js';
import type { Movement, Turnover } from '../ledger/read/statement-reader.js';
import type { Statement } from './statement.js';
import { StatementLineDto } from './statements.dto.js';

const NAMESPACE = 'urn:iso:std:iso:20022:tech:xsd:camt.053.001.08';

/** The longest texts of the elements that hold free texts. */
const MAX_OWNER = 140;
const MAX_ACCOUNT_NAME = 70;
const MAX_END_TO_END_ID = 35;
const MAX_REMITTANCE = 140;

/**
 * Writes an ISO 20022 message "bank to customer statement", camt.053.001.08. Its elements follow each other as the
 * schema has them. What the account's owner calls a transaction is its `EndToEndId`, if it is short enough for that.
 */
export async function* writeCamt053(statement: Statement): AsyncGenerator<string> {
  const id = randomUUID().replaceAll('-', '');
  const createdAt = element('CreDtTm', statement.createdAt.toISOString());
  const { openingBalance, closingBalance, from, to, currency } = statement;
  yield `<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="${NAMESPACE}"><BkToCstmrStmt>`;
  yield element('GrpHdr', element('MsgId', id), createdAt);
  yield `<Stmt>${element('Id', id)}${createdAt}`;
  yield element('FrToDt', element('FrDtTm', from.toISOString()), element('ToDtTm', to.toISOString()));
  yield accountOf(statement);
  const amountOf = amountsIn(currency);
  yield balanceOf('OPBD', amountOf(openingBalance), from) + balanceOf('CLBD', amountOf(closingBalance), to);
  yield summaryOf(statement);
  for await (const chunk of statement.lines())
    yield chunk.map((movement) => entryOf(movement, amountOf)).join('');
  yield '</Stmt></BkToCstmrStmt></Document>\n';
}

function accountOf({ account: { accountId, owner, reference }, currency }: Statement): string {
  return element(
    'Acct',
    element('Id', element('Othr', element('Id', String(accountId)))),
    element('Ccy', currency.code),
    reference === undefined ? '' : element('Nm', freeText(reference, MAX_ACCOUNT_NAME)),
    owner === undefined ? '' : element('Ownr', element('Nm', freeText(owner, MAX_OWNER))),
  );
}

function balanceOf(code: 'OPBD' | 'CLBD', amount: string, at: Date): string {
  return element(
    'Bal',
    element('Tp', element('CdOrPrtry', element('Cd', code))),
    amount,
    element('Dt', element('DtTm', at.toISOString())),
  );
}

function summaryOf({ turnover: { credit, debit }, currency }: Statement): string {
  const both = { count: credit.count + debit.count, sum: credit.sum + debit.sum };
  const net = credit.sum - debit.sum;
  return element(
    'TxsSummry',
    element('TtlNtries', totals(both, currency), element('TtlNetNtry', amountsIn(currency)(net))),
    element('TtlCdtNtries', totals(credit, currency)),
    element('TtlDbtNtries', totals(debit, currency)),
  );
}

/** A sum has at most 18 digits there; a larger one is left out. */
const totals = ({ count, sum }: Turnover, { decimals }: Currency) =>
  element('NbOfNtries', String(count)) +
  (sum > maxMoney(decimals) ? '' : element('Sum', formatMoney(sum, decimals)));

function entryOf(movement: Movement, amountOf: (money: Money) => string): string {
  const line = new StatementLineDto(movement);
  const { type, amount, timestamp, details = {} } = movement;
  const { description, reference, effectiveDate } = details;
  const money = amountOf(type === 'credit' ? amount : -amount);
  const isShort = reference !== undefined && reference.length <= MAX_END_TO_END_ID;
  const refs = [
    isShort ? element('EndToEndId', freeText(reference, MAX_END_TO_END_ID)) : '',
    ...Object.entries({ transfer: line.transferId, hold: line.holdId, reverses: line.reverses }).map(
      ([name, id]) => (id === undefined ? '' : element('Prtry', element('Tp', name), element('Ref', id))),
    ),
  ].join('');
  const remittance = reference === undefined || isShort ? [] : parts(reference, MAX_REMITTANCE);
  return element(
    'Ntry',
    element('NtryRef', line.transactionId),
    money,
    line.reverses === undefined ? '' : element('RvslInd', 'true'),
    element('Sts', element('Cd', 'BOOK')),
    element('BookgDt', element('DtTm', timestamp.toISOString())),
    effectiveDate === undefined ? '' : element('ValDt', element('Dt', effectiveDate)),
    element('AcctSvcrRef', line.transactionId),
    element('BkTxCd', element('Prtry', element('Cd', TYPE_WORDS[type]))),
    refs + remittance.join('') === ''
      ? ''
      : element(
          'NtryDtls',
          element(
            'TxDtls',
            refs === '' ? '' : element('Refs', refs),
            money,
            remittance.length === 0
              ? ''
              : element('RmtInf', ...remittance.map((part) => element('Ustrd', escaped(part)))),
          ),
        ),
    // As long as a description may be: 500 characters.
    description === undefined ? '' : element('AddtlNtryInf', escaped(description)),
  );
}

/** An amount without a sign, and its direction. */
const amountsIn =
  ({ code, decimals }: Currency) =>
  (money: Money): string => {
    const digits = formatMoney(money < 0n ? -money : money, decimals);
    return `<Amt Ccy="${code}">${digits}</Amt>${element('CdtDbtInd', money < 0n ? 'DBIT' : 'CRDT')}`;
  };

const element = (name: string, ...content: readonly string[]) => `<${name}>${content.join('')}</${name}>`;

const freeText = (text: string, maxLength: number) => escaped(parts(text, maxLength)[0] ?? '');

/** Cuts a text between characters, not within one. */
function parts(text: string, maxLength: number): string[] {
  const characters = [...text];
  return Array.from({ length: Math.ceil(characters.length / maxLength) }, (_, index) =>
    characters.slice(index * maxLength, (index + 1) * maxLength).join(''),
  );
}

/** Characters that XML 1.0 can't have, however they are written. */
const FORBIDDEN = /[^\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]/gu;
const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '\r': '&#13;' };

const escaped = (text: string) =>
  text.replace(FORBIDDEN, '\uFFFD').replace(/[&<>\r]/g, (character) => ENTITIES[character] ?? character);
