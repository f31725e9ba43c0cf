/** A row of the table, before it has its place. */
export interface Row {
  readonly height: number;
}

/**
 * Distributes rows over pages. A row is not divided; the last row, the closing balance, stays with the one before it.
 *
 * @param firstHeight what the first page has room for, and `height` what each other one has
 */
export function paginate<T extends Row>(
  rows: readonly T[],
  firstHeight: number,
  height: number,
): readonly (readonly T[])[] {
  const pages: T[][] = [[]];
  let left = firstHeight;
  rows.forEach((row, index) => {
    const closing = index === rows.length - 2 ? (rows.at(-1)?.height ?? 0) : 0;
    if (row.height + closing > left && pages.at(-1)?.length !== 0) {
      pages.push([]);
      left = height;
    }
    pages.at(-1)?.push(row);
    left -= row.height;
  });
  return pages;
}

/** With thousands apart: 123456.00 is `123,456.00`. */
export const grouped = (money: string) => money.replace(/\B(?=(\d{3})+\.)/g, ',');

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const DAY_MS = 86_400_000;

/** `2 May 2025` */
export const dayOf = (time: Date) =>
  `${time.getUTCDate()} ${MONTHS[time.getUTCMonth()]} ${time.getUTCFullYear()}`;

/** `10:24:02` */
export const timeOf = (time: Date) => time.toISOString().slice(11, 19);

/** Whole days are named by the first and the last of them, as people do. */
export function periodOf(from: Date, to: Date): string {
  if (from.getTime() % DAY_MS !== 0 || to.getTime() % DAY_MS !== 0) {
    return `${dayOf(from)}, ${exactTimeOf(from)}, until before ${dayOf(to)}, ${exactTimeOf(to)}`;
  }
  const last = new Date(to.getTime() - DAY_MS);
  return from.getTime() === last.getTime() ? dayOf(from) : `${dayOf(from)} to ${dayOf(last)}`;
}

const exactTimeOf = (time: Date) =>
  time
    .toISOString()
    .slice(11, -1)
    .replace(/\.000$/, '');
