import { setImmediate as nextTurn } from 'node:timers/promises';
import PDFDocument from 'pdfkit';
import { formatMoney } from '../../domain/money.js';
import type { Movement } from '../../ledger/read/statement-reader.js';
import type { Statement } from '../statement.js';
import { StatementLineDto } from '../statements.dto.js';
import { Canvas, type Style } from './canvas.js';
import { dayOf, grouped, paginate, periodOf, timeOf, type Row } from './layout.js';

/** A4, in points. */
const WIDTH = 595.28;
const HEIGHT = 841.89;
const MARGIN = 42;
const RIGHT = WIDTH - MARGIN;

const INK = '0.1 0.1 0.12';
const GREY = '0.42 0.42 0.46';
const RULE = '0.82 0.83 0.86';
const BAND = '0.95 0.96 0.97';

const TITLE: Style = { weight: 'bold', size: 18, color: INK };
const PLAIN: Style = { weight: 'regular', size: 8.5, color: INK };
const STRONG: Style = { ...PLAIN, weight: 'bold' };
const SMALL: Style = { ...PLAIN, size: 7, color: GREY };
const LABEL: Style = { ...SMALL, size: 7.5 };

/** The columns of the table: where texts begin, and where amounts end. */
const DETAILS_X = MARGIN + 62;
const DETAILS_WIDTH = 196;
const AMOUNT_WIDTH = 80;
const BALANCE_X = RIGHT - 4;
const DEPOSITS_X = BALANCE_X - AMOUNT_WIDTH - 6;
const WITHDRAWALS_X = DEPOSITS_X - AMOUNT_WIDTH - 6;

const LINE_HEIGHT = 11;
const SMALL_LINE_HEIGHT = 9;
const PADDING = 5;
const TABLE_HEAD = 20;
/** Where the table ends, and the place of the last line. */
const BOTTOM = HEIGHT - 56;
const FOOT = HEIGHT - 34;
/** Where the table of all pages but the first begins. */
const NEXT_TOP = 62;

const NO_BREAK_SPACE = '\u00A0';

/** Lines that are measured in one turn of the event loop. A page has about thirty, and is drawn in one. */
const MEASURED = 50;

interface TableRow extends Row {
  readonly day?: string;
  readonly texts: readonly (readonly [text: string, style: Style])[];
  readonly withdrawal?: string;
  readonly deposit?: string;
  readonly balance: string;
  readonly style: Style;
}

/**
 * Writes a document for people. All rows are measured before the first page is drawn, because each page says how many
 * there are; then each page leaves when it is drawn.
 */
export async function* writePdf(statement: Statement): AsyncGenerator<Buffer> {
  const document = newDocument(statement);
  try {
    const canvas = new Canvas(document);
    const rows = await measured(canvas, statement);
    const facts = factsOf(canvas, statement);
    const top = MARGIN + 50 + facts.height + 56;
    const pages = paginate(rows, BOTTOM - top - TABLE_HEAD, BOTTOM - NEXT_TOP - TABLE_HEAD);
    for (const [index, page] of pages.entries()) {
      document.addPage();
      if (index === 0) drawHead(canvas, statement, facts);
      else drawShortHead(canvas, statement);
      drawTable(canvas, page, index === 0 ? top : NEXT_TOP, statement.currency.code);
      drawFoot(canvas, `Page ${index + 1} of ${pages.length}`);
      yield* made(document);
      await nextTurn();
    }
    document.end();
    yield* made(document);
    await nextTurn();
    yield* made(document);
  } finally {
    document.destroy();
  }
}

function newDocument({ account, from, to, createdAt }: Statement): InstanceType<typeof PDFDocument> {
  return new PDFDocument({
    size: 'A4',
    margin: 0,
    autoFirstPage: false,
    // There is no usual font: the canvas opens those that it needs.
    font: null as unknown as string,
    lang: 'en',
    displayTitle: true,
    info: {
      Title: `Account statement, account ${account.accountId}, ${periodOf(from, to)}`,
      Subject: 'Account statement',
      CreationDate: createdAt,
    },
  });
}

/** What of a document is ready. */
function* made(document: InstanceType<typeof PDFDocument>): Generator<Buffer> {
  for (let part; (part = document.read() as Buffer | null) !== null;) yield part;
}

async function measured(canvas: Canvas, statement: Statement): Promise<TableRow[]> {
  const { from, to, currency } = statement;
  const [opening, closing] = [statement.openingBalance, statement.closingBalance].map((balance) =>
    formatMoney(balance, currency.decimals),
  ) as [string, string];
  const rows = [balanceRow('Opening balance', opening, from)];
  for await (const chunk of statement.lines()) {
    for (let start = 0; start < chunk.length; start += MEASURED) {
      rows.push(...chunk.slice(start, start + MEASURED).map((line) => rowOf(canvas, line)));
      await nextTurn();
    }
  }
  if (rows.length === 1) rows.push(emptyRow(opening));
  rows.push(balanceRow('Closing balance', closing, to));
  return rows;
}

const balanceRow = (text: string, balance: string, at: Date): TableRow => ({
  texts: [
    [text, STRONG],
    [`${dayOf(at)} ${timeOf(at)}`, SMALL],
  ],
  balance,
  style: STRONG,
  height: LINE_HEIGHT + SMALL_LINE_HEIGHT + 2 * PADDING,
});

const emptyRow = (balance: string): TableRow => ({
  texts: [['No deposits or withdrawals in this period.', { ...PLAIN, color: GREY }]],
  balance,
  style: PLAIN,
  height: LINE_HEIGHT + 2 * PADDING,
});

function rowOf(canvas: Canvas, movement: Movement): TableRow {
  const line = new StatementLineDto(movement);
  const word = movement.type === 'credit' ? 'Deposit' : 'Withdrawal';
  const { description, reference, effectiveDate } = line;
  const facts = [
    ...(description === undefined ? [] : [word]),
    timeOf(movement.timestamp),
    line.transactionId,
    ...(line.transferId === undefined ? [] : [`transfer ${line.transferId}`]),
    ...(line.holdId === undefined ? [] : [line.holdId]),
    ...(line.reverses === undefined ? [] : [`reverses ${line.reverses}`]),
    ...(effectiveDate === undefined ? [] : [`effective ${dayOf(new Date(effectiveDate))}`]),
  ]
    // Only the dots are places to break a line.
    .map((fact) => fact.replaceAll(' ', NO_BREAK_SPACE))
    .join(' · ');
  const wrapped = (text: string, style: Style) =>
    canvas.wrap(text, style, DETAILS_WIDTH).map((each) => [each, style] as const);
  const texts = [
    ...wrapped(description ?? word, PLAIN),
    ...(reference === undefined ? [] : wrapped(`Reference ${reference}`, SMALL)),
    ...wrapped(facts, SMALL),
  ];
  return {
    day: dayOf(movement.timestamp),
    texts,
    ...(movement.type === 'credit' ? { deposit: line.amount } : { withdrawal: line.amount }),
    balance: line.balance,
    style: PLAIN,
    height: texts.reduce((height, [, style]) => height + lineHeight(style), 2 * PADDING),
  };
}

const lineHeight = (style: Style) => (style === SMALL ? SMALL_LINE_HEIGHT : LINE_HEIGHT);

interface Facts {
  readonly lines: readonly (readonly [label: string, text: string])[];
  readonly height: number;
}

/** What the first page says of the account and the period. */
function factsOf(canvas: Canvas, { account, currency, from, to, createdAt }: Statement): Facts {
  const facts = {
    Account: String(account.accountId),
    'Account name': account.reference,
    Owner: account.owner,
    Period: `${periodOf(from, to)} (UTC)`,
    Currency: currency.code,
    Created: `${dayOf(createdAt)} ${timeOf(createdAt)} UTC`,
  };
  const lines = Object.entries(facts).flatMap(([label, text]) =>
    text === undefined
      ? []
      : canvas
          .wrap(text, PLAIN, RIGHT - DETAILS_X - 12)
          .map((each, index) => [index === 0 ? label : '', each] as const),
  );
  return { lines, height: lines.length * 13 };
}

function drawHead(canvas: Canvas, statement: Statement, { lines, height }: Facts): void {
  canvas.text('Account statement', MARGIN, MARGIN + 16, TITLE);
  lines.forEach(([label, text], index) => {
    const y = MARGIN + 40 + index * 13;
    canvas.text(label, MARGIN, y, { ...LABEL, size: 8.5 });
    canvas.text(text, DETAILS_X + 12, y, PLAIN);
  });
  const { openingBalance, closingBalance, turnover, currency } = statement;
  const sums = [
    ['Opening balance', openingBalance],
    [`Withdrawals (${turnover.debit.count})`, turnover.debit.sum],
    [`Deposits (${turnover.credit.count})`, turnover.credit.sum],
    ['Closing balance', closingBalance],
  ] as const;
  const y = MARGIN + 40 + height;
  const width = (RIGHT - MARGIN) / sums.length;
  canvas.box(MARGIN, y, RIGHT - MARGIN, 42, BAND);
  sums.forEach(([label, money], index) => {
    const end = MARGIN + (index + 1) * width - 10;
    canvas.textTo(label, end, y + 16, LABEL, width - 16);
    canvas.textTo(
      grouped(formatMoney(money, currency.decimals)),
      end,
      y + 31,
      { ...STRONG, size: 11 },
      width - 16,
    );
  });
}

function drawShortHead(canvas: Canvas, { account, from, to }: Statement): void {
  canvas.text('Account statement', MARGIN, MARGIN + 6, STRONG);
  canvas.textTo(
    `Account ${account.accountId} · ${periodOf(from, to)}`,
    RIGHT,
    MARGIN + 6,
    { ...PLAIN, color: GREY },
    RIGHT - DETAILS_X - 40,
  );
}

function drawTable(canvas: Canvas, rows: readonly TableRow[], top: number, currency: string): void {
  const y = top + 13;
  canvas.text('Date (UTC)', MARGIN + 4, y, LABEL);
  canvas.text('Details', DETAILS_X, y, LABEL);
  canvas.textTo('Withdrawals', WITHDRAWALS_X, y, LABEL, AMOUNT_WIDTH);
  canvas.textTo('Deposits', DEPOSITS_X, y, LABEL, AMOUNT_WIDTH);
  canvas.textTo(`Balance (${currency})`, BALANCE_X, y, LABEL, AMOUNT_WIDTH);
  canvas.box(MARGIN, top + TABLE_HEAD - 1, RIGHT - MARGIN, 1, INK);
  let at = top + TABLE_HEAD;
  for (const row of rows) {
    drawRow(canvas, row, at);
    at += row.height;
    canvas.box(MARGIN, at - 0.25, RIGHT - MARGIN, 0.5, RULE);
  }
}

function drawRow(canvas: Canvas, row: TableRow, top: number): void {
  const { day, texts, withdrawal, deposit, balance, style } = row;
  const y = top + PADDING + 8.5;
  if (style === STRONG) canvas.box(MARGIN, top, RIGHT - MARGIN, row.height, BAND);
  if (day !== undefined) canvas.text(day, MARGIN + 4, y, PLAIN);
  let baseline = y;
  for (const [index, [text, of]] of texts.entries()) {
    if (index > 0) baseline += lineHeight(of);
    canvas.text(text, DETAILS_X, baseline, of);
  }
  const amount = (money: string | undefined, x: number) => {
    if (money !== undefined) canvas.textTo(grouped(money), x, y, style, AMOUNT_WIDTH);
  };
  amount(withdrawal, WITHDRAWALS_X);
  amount(deposit, DEPOSITS_X);
  amount(balance, BALANCE_X);
}

function drawFoot(canvas: Canvas, page: string): void {
  const note = canvas.lacked
    ? 'All times are in UTC. An empty box stands for a character that this document cannot show.'
    : 'All times are in UTC.';
  canvas.text(note, MARGIN, FOOT, SMALL);
  canvas.textTo(page, RIGHT, FOOT, SMALL, AMOUNT_WIDTH);
}
