import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { writeCamt053 } from '../../src/statements/camt053.js';
import { writeCsv } from '../../src/statements/csv.js';
import { paginate, periodOf, grouped } from '../../src/statements/pdf/layout.js';
import { writePdf } from '../../src/statements/pdf/pdf.js';
import { statementOf, writtenBy } from '../support/statement.js';
import { textsOf } from '../support/pdf.js';
import { readXml, type XmlElement } from '../support/xml.js';

/**
 * The part of the schema camt.053.001.08 that a statement uses: the elements of each element, in their order. `?` may be
 * left out, `*` may come any number of times, `|` is a choice.
 */
const SCHEMA: Readonly<Record<string, string>> = {
  Document: 'BkToCstmrStmt',
  BkToCstmrStmt: 'GrpHdr Stmt*',
  GrpHdr: 'MsgId CreDtTm MsgRcpt? MsgPgntn? OrgnlBizQry? AddtlInf?',
  Stmt:
    'Id StmtPgntn? ElctrncSeqNb? RptgSeq? LglSeqNb? CreDtTm? FrToDt? CpyDplctInd? RptgSrc? Acct RltdAcct? Intrst* Bal* ' +
    'TxsSummry? Ntry* AddtlStmtInf?',
  FrToDt: 'FrDtTm ToDtTm',
  Acct: 'Id Tp? Ccy? Nm? Prxy? Ownr? Svcr?',
  'Acct/Id': 'IBAN|Othr',
  Othr: 'Id SchmeNm? Issr?',
  Ownr: 'Nm? PstlAdr? Id? CtryOfRes? CtctDtls?',
  Bal: 'Tp CdtLine* Amt CdtDbtInd Dt Avlbty*',
  Tp: 'CdOrPrtry SubTp?',
  CdOrPrtry: 'Cd|Prtry',
  Dt: 'Dt|DtTm',
  TxsSummry: 'TtlNtries? TtlCdtNtries? TtlDbtNtries? TtlNtriesPerBkTxCd*',
  TtlNtries: 'NbOfNtries? Sum? TtlNetNtry?',
  TtlNetNtry: 'Amt CdtDbtInd',
  TtlCdtNtries: 'NbOfNtries? Sum?',
  TtlDbtNtries: 'NbOfNtries? Sum?',
  Ntry:
    'NtryRef? Amt CdtDbtInd RvslInd? Sts BookgDt? ValDt? AcctSvcrRef? Avlbty* BkTxCd ComssnWvrInd? AddtlInfInd? ' +
    'AmtDtls? Chrgs? TechInptChanl? Intrst? CardTx? NtryDtls* AddtlNtryInf?',
  Sts: 'Cd|Prtry',
  BookgDt: 'Dt|DtTm',
  ValDt: 'Dt|DtTm',
  BkTxCd: 'Domn? Prtry?',
  'BkTxCd/Prtry': 'Cd Issr?',
  NtryDtls: 'Btch? TxDtls*',
  TxDtls:
    'Refs? Amt? CdtDbtInd? AmtDtls? Avlbty* BkTxCd? Chrgs? Intrst? RltdPties? RltdAgts? LclInstrm? Purp? RltdRmtInf* ' +
    'RmtInf? RltdDts? RltdPric? RltdQties* FinInstrmId? Tax? RtrInf? CorpActn? SfkpgAcct? CshDpst* CardTx? AddtlTxInf?',
  Refs:
    'MsgId? AcctSvcrRef? PmtInfId? InstrId? EndToEndId? UETR? TxId? MndtId? ChqNb? ClrSysRef? AcctOwnrTxId? ' +
    'AcctSvcrTxId? MktInfrstrctrTxId? PrcgId? Prtry*',
  'Refs/Prtry': 'Tp Ref',
  RmtInf: 'Ustrd* Strd*',
};

const DATE_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const AMOUNT = /^\d{1,16}\.\d\d$/;
/** Elements with text, as the schema restricts it. */
const TEXTS: Readonly<Record<string, RegExp>> = {
  ...Object.fromEntries(
    ['MsgId', 'Id', 'EndToEndId', 'NtryRef', 'AcctSvcrRef', 'Tp', 'Ref'].map((name) => [
      name,
      /^[^]{1,35}$/u,
    ]),
  ),
  ...Object.fromEntries(['CreDtTm', 'FrDtTm', 'ToDtTm', 'DtTm'].map((name) => [name, DATE_TIME])),
  Dt: /^\d{4}-\d\d-\d\d$/,
  Ccy: /^[A-Z]{3}$/,
  Amt: AMOUNT,
  Sum: AMOUNT,
  NbOfNtries: /^\d{1,15}$/,
  CdtDbtInd: /^(CRDT|DBIT)$/,
  RvslInd: /^(true|false)$/,
  Cd: /^(OPBD|CLBD|BOOK|Deposit|Withdraw)$/,
  'Ownr/Nm': /^[^]{1,140}$/u,
  'Acct/Nm': /^[^]{1,70}$/u,
  Ustrd: /^[^]{1,140}$/u,
  AddtlNtryInf: /^[^]{1,500}$/u,
};

function schemaProblems(element: XmlElement, parent = ''): string[] {
  const path = `${parent}/${element.name}`;
  const names = element.children.map(({ name }) => name);
  const text = TEXTS[path] ?? TEXTS[element.name];
  if (names.length === 0) {
    return text?.test(element.content) ? [] : [`${path} is ${element.content.slice(0, 40)}`];
  }
  const model = SCHEMA[path] ?? SCHEMA[element.name];
  if (model === undefined) return [`${path} is unknown`];
  const pattern = model.replace(/([\w|]+)([?*]?)( |$)/g, '(?:(?:$1) )$2');
  const isInOrder = new RegExp(`^${pattern}$`).test(names.map((name) => `${name} `).join(''));
  return [
    ...(isInOrder ? [] : [`${path} has ${names.join()}`]),
    ...(element.content === '' ? [] : [`${path} has a text`]),
    ...element.children.flatMap((child) => schemaProblems(child, element.name)),
  ];
}

const anyLine = (maxLength: number) =>
  fc
    .string({
      unit: fc.oneof(fc.nat(0xff), fc.nat(0x10ffff)).map((code) => String.fromCodePoint(code).toWellFormed()),
    })
    .map((text) => [...`${text}<&"]]>`.replaceAll('\0', '')].slice(0, maxLength).join(''));

describe('camt.053', () => {
  it('has the elements, the order and the codes of the schema, whatever the texts are', async () => {
    const anything = fc.record({
      amounts: fc.array(
        fc.bigInt({ min: -(10n ** 17n), max: 10n ** 17n }).filter((amount) => amount !== 0n),
        {
          maxLength: 5,
        },
      ),
      details: fc.record({
        description: anyLine(500),
        reference: fc.oneof(anyLine(35), anyLine(255)),
        effectiveDate: fc.constantFrom('2025-05-03', undefined),
      }),
      owner: fc.oneof(fc.constant(undefined), anyLine(255)),
      reference: fc.oneof(fc.constant(undefined), anyLine(255)),
    });
    await fc.assert(
      fc.asyncProperty(anything, async ({ amounts, details, owner, reference }) => {
        const statement = statementOf(amounts, details, { owner, reference });
        const text = (await writtenBy(writeCamt053(statement))).toString();
        const [document] = readXml(text).children as [XmlElement];
        expect(document.attributes).toEqual({ xmlns: 'urn:iso:std:iso:20022:tech:xsd:camt.053.001.08' });
        expect(schemaProblems(document)).toEqual([]);
        const cents = (each: XmlElement) =>
          BigInt(each.text('Amt')?.replace('.', '') ?? '') * (each.text('CdtDbtInd') === 'DBIT' ? -1n : 1n);
        const [opening, closing] = document.all('Bal').map(cents) as [bigint, bigint];
        expect(document.all('Ntry').map(cents)).toEqual(amounts);
        expect(amounts.reduce((sum, amount) => sum + amount, opening)).toBe(closing);
      }),
      { numRuns: 60 },
    );
  });

  it('would not pass with an element elsewhere, without one that must be there, or with a sign', async () => {
    const text = (await writtenBy(writeCamt053(statementOf([-5n])))).toString();
    for (const [from, to] of [
      [/(<Sts>.*?<\/Sts>)(<BookgDt>.*?<\/BookgDt>)/, '$2$1'],
      [/<BkTxCd>.*?<\/BkTxCd>/, ''],
      [/>0\.05</, '>-0.05<'],
      [/OPBD/, 'OPEN'],
    ] as const) {
      const [document] = readXml(text.replace(from, to)).children as [XmlElement];
      expect(schemaProblems(document)).not.toEqual([]);
    }
  });
});

describe('CSV', () => {
  it.each(['=1+1', '+1', '-1', '@SUM(A1)', '\tx', '\rx', '＝1'])('makes no formula of %j', async (text) => {
    const csv = (
      await writtenBy(writeCsv(statementOf([1n], { description: text, reference: text })))
    ).toString();
    expect(csv.split(text).every((before, index) => index === 2 || before.endsWith("'"))).toBe(true);
  });
});

describe('PDF', () => {
  it('repeats its heads, counts its pages, and keeps the closing balance with the last line', async () => {
    for (const count of [0, 1, 19, 20, 21, 22, 60, 200]) {
      const statement = statementOf(
        Array.from({ length: count }, (_, index) => (index % 2 ? -7n : 1_234_567n)),
      );
      const pages = textsOf(await writtenBy(writePdf(statement)));
      pages.forEach((page, index) => {
        expect(page).toEqual(expect.arrayContaining(['Account statement', 'Details', 'Balance (USD)']));
        expect(page).toContain(`Page ${index + 1} of ${pages.length}`);
      });
      const lines = pages.map((page) => page.filter((text) => /txn\d+/.test(text)).length);
      expect(lines.reduce((sum, lines) => sum + lines, 0)).toBe(count);
      if (count > 0) expect(lines.at(-1)).toBeGreaterThan(0);
      expect(pages.at(-1)).toContain('Closing balance');
    }
  });

  it('wraps long texts, and shows a box for what it can not show', async () => {
    const description = `${'x'.repeat(400)} ${'word '.repeat(18)}\u202E家`;
    const [page = []] = textsOf(await writtenBy(writePdf(statementOf([5n], { description }))));
    const drawn = page.filter((text) => /^(x|word|□)/.test(text)).join(' ');
    expect(drawn.replaceAll('x x', 'xx')).toBe(`${'x'.repeat(400)} ${'word '.repeat(18)}□□`);
    expect(page).toContainEqual(expect.stringContaining('An empty box stands for a character'));
    const [plain = []] = textsOf(
      await writtenBy(writePdf(statementOf([5n], { description: 'Łódź Αθήνα Київ ệ' }))),
    );
    expect(plain).toContain('Łódź Αθήνα Київ ệ');
    expect(plain.join()).not.toContain('box');
  });

  it('never divides a row or leaves a page empty', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 10, max: 300 }), { minLength: 3 }), (heights) => {
        const rows = heights.map((height) => ({ height }));
        const pages = paginate(rows, 500, 600);
        expect(pages.flat()).toEqual(rows);
        expect(pages.at(-1)?.length).toBeGreaterThan(1);
        pages.forEach((page, index) => {
          expect(page.reduce((sum, { height }) => sum + height, 0)).toBeLessThanOrEqual(
            index === 0 ? 500 : 600,
          );
        });
      }),
    );
  });

  it('names periods and amounts as people do', () => {
    const period = (from: string, to: string) => periodOf(new Date(from), new Date(to));
    expect(period('2025-05-01', '2025-06-01')).toBe('1 May 2025 to 31 May 2025');
    expect(period('2025-05-01', '2025-05-02')).toBe('1 May 2025');
    expect(period('2025-05-01T10:00:00Z', '2025-05-02')).toBe(
      '1 May 2025, 10:00:00, until before 2 May 2025, 00:00:00',
    );
    expect(['0.05', '-123.00', '1234.50', '-9999999999999999.99'].map(grouped)).toEqual([
      ...['0.05', '-123.00', '1,234.50', '-9,999,999,999,999,999.99'],
    ]);
  });
});
