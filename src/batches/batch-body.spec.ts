import 'reflect-metadata';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Asked } from '../domain/command.js';
import { inMinorUnits } from '../domain/money.js';
import { answerOf } from '../http/exception.filter.js';
import { BATCH_BODY_LIMIT_BYTES, BODY_LIMIT_BYTES } from '../http/validation/json-body.js';
import { readJsonBatch, readLines } from './batch-body.js';
import { EVERYBODY } from '../access/principal.js';
import { itemReader, MAX_ITEMS, type BatchItem } from './batch-items.js';

const centsIn = (amount: Asked | undefined) => Number(amount && inMinorUnits(amount, 2));
const line = (cents: number, note = '') => `{"accountId":1,"amount":0.0${cents},"type":"Deposit"${note}}`;

/** The cents of an item, or the status of its error. */
const shown = (item: BatchItem) =>
  item instanceof Error ? answerOf(item).status : 'amount' in item && centsIn(item.amount);

const readItem = itemReader({ principal: EVERYBODY, dryRun: false });

async function* pieces(bytes: Buffer, cuts: readonly number[]): AsyncGenerator<Buffer> {
  const places = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  let from = 0;
  for (const to of places) {
    await Promise.resolve();
    yield bytes.subarray(from, to);
    from = to;
  }
}

async function read(bytes: Buffer, cuts: readonly number[] = []): Promise<BatchItem[]> {
  const items: BatchItem[] = [];
  for await (const chunk of readLines(pieces(bytes, cuts), readItem)) items.push(...chunk);
  return items;
}

describe('readLines', () => {
  const long = line(1, `,"note":"${'ü'.repeat(BODY_LIMIT_BYTES)}"`);
  const kinds: Readonly<Record<string, number | undefined>> = {
    [line(1)]: 1,
    [line(7, ' \r')]: 7,
    [line(2, ',"note":"ü€😀"')]: 400,
    nonsense: 400,
    [long]: 413,
    '': undefined,
    ' \t\r': undefined,
  };

  it('yields an item for each non-blank line, however the bytes are cut', async () => {
    const lines = fc.array(fc.constantFrom(...Object.keys(kinds)), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(
        lines,
        fc.boolean(),
        fc.array(fc.nat(70_000), { maxLength: 8 }),
        async (some, ended, cuts) => {
          const text = some.join('\n') + (ended ? '\n' : '');
          const expected = some.map((one) => kinds[one]).filter((kind) => kind !== undefined);
          expect((await read(Buffer.from(text), cuts)).map(shown)).toEqual(expected);
        },
      ),
      { numRuns: 200 },
    );
  });

  it.each([
    ['a line', line(1)],
    ['a blank line', `\n${line(1)}`],
    ['a line of exactly 16 KiB', line(1).padEnd(BODY_LIMIT_BYTES)],
  ])('skips a byte order mark before %s, however it is cut', async (_, text) => {
    const bytes = Buffer.from(`\ufeff${text}\n${line(2)}`);
    for (const cuts of [[], [1], [2], [3], [1, 2, 3], [bytes.length - 5]]) {
      expect((await read(bytes, cuts)).map(shown)).toEqual([1, 2]);
    }
  });

  it('rejects a byte order mark anywhere else, and a line over 16 KiB behind one', async () => {
    expect((await read(Buffer.from(`${line(1)}\n\ufeff${line(2)}`))).map(shown)).toEqual([1, 400]);
    const tooLong = `\ufeff${line(1).padEnd(BODY_LIMIT_BYTES + 1)}`;
    for (const cuts of [[], [10_000]]) {
      expect((await read(Buffer.from(`${tooLong}\n${line(2)}`), cuts)).map(shown)).toEqual([413, 2]);
      expect((await read(Buffer.from(tooLong), cuts)).map(shown)).toEqual([413]);
    }
  });

  it('rejects only the line that is not UTF-8', async () => {
    const bad = Buffer.concat([
      Buffer.from('{"accountId":1,"note":"'),
      Buffer.from([0xc3]),
      Buffer.from('"}'),
    ]);
    const bytes = Buffer.concat([
      Buffer.from(`\ufeff${line(1)}\n`),
      bad,
      Buffer.from(`\n${line(2, ',"note":"ü"')}\n`),
    ]);
    for (const cuts of [[], [bytes.length - 20]]) {
      const items = await read(bytes, cuts);
      expect(items.map(shown)).toEqual([1, 400, 400]);
      expect(items[1]).toMatchObject({ problems: [{ field: 'body', message: 'is not valid UTF-8' }] });
      expect(items[2]).toMatchObject({ problems: [{ field: 'note' }] });
    }
  });

  it('says of too long a line that it is too long, even if it is cut within a character', async () => {
    const bytes = Buffer.from(`${line(1)}\n"${'€'.repeat(BODY_LIMIT_BYTES)}"`);
    for (let cut = 20_000; cut < 20_006; cut++) {
      expect((await read(bytes, [cut])).map(shown)).toEqual([1, 413]);
      expect((await read(Buffer.concat([bytes, Buffer.from('\n')]), [cut])).map(shown)).toEqual([1, 413]);
    }
  });

  it('takes four times as long for a line four times as long, also when each byte comes by itself', async () => {
    // Just below the limit of a line: beyond it nothing is kept.
    const oneLine = (bytes: number) => Buffer.from(line(1, `,"note":"${'x'.repeat(bytes)}"`));
    const processorMs = async (bytes: Buffer, times: number) => {
      const before = process.cpuUsage();
      for (let n = 0; n < times; n++) {
        await read(
          bytes,
          Array.from(bytes, (_, at) => at),
        );
      }
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1_000;
    };
    const [short, long] = [oneLine(4_000), oneLine(16_000)];
    await processorMs(short, 8);
    // The same number of bytes: longer lines may take at most half as much time again, and not four times as much.
    const ratios: number[] = [];
    for (let round = 0; round < 3; round++) {
      ratios.push((await processorMs(long, 8)) / (await processorMs(short, 32)));
    }
    expect(Math.min(...ratios)).toBeLessThan(1.5);
  });

  it('yields the items of a piece before the next one arrives', async () => {
    const { promise, resolve } = Promise.withResolvers<Buffer>();
    async function* slow(): AsyncGenerator<Buffer> {
      yield Buffer.from(`${line(1)}\n${line(2)}`);
      yield await promise;
    }
    const chunks = readLines(slow(), readItem);
    const next = async () => ((await chunks.next()).value as BatchItem[]).map(shown);
    expect(await next()).toEqual([1]);
    resolve(Buffer.from('\n'));
    expect(await next()).toEqual([2]);
  });

  it.each([
    ['exactly the most items', MAX_ITEMS, MAX_ITEMS, 1],
    ['one more', MAX_ITEMS + 1, MAX_ITEMS + 1, 413],
    ['many more', MAX_ITEMS + 700, MAX_ITEMS + 1, 413],
  ])('ends with 413 after the most items: %s', async (_, lines, results, last) => {
    const items = await read(Buffer.from(`${line(1)}\n`.repeat(lines)), [1_000, 500_000]);
    expect(items).toHaveLength(results);
    expect(shown(items.at(-1) as BatchItem)).toBe(last);
    expect(items.slice(0, MAX_ITEMS).map(shown)).not.toContain(413);
  });

  it('ends with 413 once it is too large, and does not keep it in memory', async () => {
    let read = 0;
    async function* endless(): AsyncGenerator<Buffer> {
      yield Buffer.from(`${line(1)}\n`);
      for (; ; read += 65_536) yield await Promise.resolve(Buffer.alloc(65_536, 'x'));
    }
    const items: BatchItem[] = [];
    for await (const chunk of readLines(endless(), readItem)) items.push(...chunk);
    expect(items.map(shown)).toEqual([1, 413]);
    expect(read).toBeLessThan(BATCH_BODY_LIMIT_BYTES + 2 * 65_536);
  });

  it('yields the error that cut the stream as the next item', async () => {
    async function* cut(): AsyncGenerator<Buffer> {
      yield Buffer.from(`${line(1)}\n${line(2)}`);
      await Promise.resolve();
      throw new Error('cut');
    }
    const chunks: BatchItem[] = [];
    for await (const chunk of readLines(cut(), readItem)) chunks.push(...chunk);
    expect(chunks.map(shown)).toEqual([1, 500]);
  });

  it('throws the error that cut the stream before the first item', async () => {
    async function* cut(): AsyncGenerator<Buffer> {
      yield Buffer.from('half of a li');
      await Promise.resolve();
      throw new Error('cut');
    }
    await expect(readLines(cut(), readItem).next()).rejects.toThrow('cut');
  });
});

describe('readJsonBatch', () => {
  const itemsOf = async (text: string) => (await readJsonBatch(text, readItem)).items.map(shown);
  const refusalOf = async (text: string) =>
    answerOf(
      await readJsonBatch(text, readItem).then(
        () => undefined,
        (error: unknown) => error,
      ),
    );

  it('reads an array, and an object that says whether the batch is atomic', async () => {
    expect(await readJsonBatch(`[${line(1)}]`, readItem)).toMatchObject({
      atomic: undefined,
      items: [{ amount: { units: 1n, decimals: 2 } }],
    });
    expect(
      await readJsonBatch(` {"atomic" : true , "transactions" : [${line(1)}] } `, readItem),
    ).toMatchObject({
      atomic: true,
      items: [{ amount: { units: 1n, decimals: 2 } }],
    });
    expect(await readJsonBatch(`{"transactions":[${line(1)}],"atomic":false}`, readItem)).toMatchObject({
      atomic: false,
    });
  });

  it('refuses a malformed item alone', async () => {
    expect(await itemsOf(`[${line(1)},{},5,null,[[]],${line(2, ',"type":"Debit"')},${line(3)}]`)).toEqual([
      1, 400, 400, 400, 400, 400, 3,
    ]);
    const large = line(2, `,"note":"${'x'.repeat(BODY_LIMIT_BYTES)}"`);
    expect(await itemsOf(`[${line(1)},${large}]`)).toEqual([1, 413]);
    expect(await itemsOf(`[${'['.repeat(8_000)}${']'.repeat(8_000)}]`)).toEqual([400]);
  });

  it.each([
    ['', 'body'],
    ['5', 'body'],
    ['[', 'body'],
    ['[]', 'body'],
    [`[${line(1)},]`, 'body'],
    [`[${line(1)}]]`, 'body'],
    [`[${line(1)},nonsense]`, 'body'],
    [`\u00a0[${line(1)}]`, 'body'],
    ['{}', 'transactions'],
    ['{"transactions":[]}', 'transactions'],
    ['{"transactions":5}', 'transactions'],
    [`{"atomic":1,"transactions":[${line(1)}]}`, 'atomic'],
    [`{"atomic":"true","transactions":[${line(1)}]}`, 'atomic'],
    [`{"atomic":true,"atomic":true,"transactions":[${line(1)}]}`, 'body'],
    [`{"note":1,"transactions":[${line(1)}]}`, 'note'],
    [`{"__proto__":1,"transactions":[${line(1)}]}`, '__proto__'],
  ])('refuses %j as a whole, naming %s', async (text, field) => {
    expect(await refusalOf(text)).toMatchObject({ status: 400, body: { details: [{ field }] } });
  });

  it('accepts the maximum number of items, and refuses one more', async () => {
    const most = Array.from({ length: MAX_ITEMS }, () => line(1));
    expect(await itemsOf(`[${most.join()}]`)).toHaveLength(MAX_ITEMS);
    expect((await refusalOf(`[${most.join()},${line(1)}]`)).status).toBe(413);
  });
});
