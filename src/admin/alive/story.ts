import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import type { AccountChanges } from '../../domain/command.js';
import type { Money } from '../../domain/money.js';
import type { MovementType } from '../../domain/transaction.js';
import { BUSINESSES, PEOPLE, type Person } from './cast.js';

/** What a person or a business does. Accounts, and holds that are referred to again, go by a name. */
export type Act =
  | { readonly kind: 'open'; readonly account: string; readonly owner?: string; readonly holder: string }
  | { readonly kind: 'change'; readonly account: string; readonly changes: AccountChanges }
  | (Payment & { readonly kind: 'post'; readonly account: string; readonly type: MovementType })
  | (Payment & { readonly kind: 'transfer'; readonly from: string; readonly to: string })
  | (Payment & {
      readonly kind: 'hold';
      readonly account: string;
      readonly hold: string;
      readonly expiresAt: Date;
    })
  | (Payment & { readonly kind: 'capture'; readonly hold: string; readonly to: string })
  | { readonly kind: 'void'; readonly hold: string }
  | { readonly kind: 'expiry'; readonly account: string }
  | { readonly kind: 'refund'; readonly hold: string; readonly amount: Money };

interface Payment {
  readonly amount: Money;
  readonly description: string;
  readonly reference?: string;
}

export interface Scene {
  readonly at: Date;
  readonly act: Act;
}

/** The account that every new bank has. */
export const DEMO_ACCOUNT = 'demo';
export const DEMO_BALANCE: Money = 1000_00n;

const DAYS = 365;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/**
 * A year in the life of a small bank, in order of time. Not all of it succeeds: now and then a card is declined. The
 * same seed and end make the same story.
 *
 * @param until when it ends, exclusive
 */
export function storyOf(seed: number, until: Date): Scene[] {
  return new Storyteller(seed, until).tell();
}

class Storyteller {
  private readonly scenes: Scene[] = [];
  private readonly begin: number;
  private holds = 0;
  private readonly generator;

  constructor(
    seed: number,
    private readonly until: Date,
  ) {
    this.generator = xoroshiro128plus(seed | 0);
    this.begin = Math.floor(until.getTime() / DAY_MS - DAYS) * DAY_MS;
  }

  tell(): Scene[] {
    this.openAccounts();
    for (let day = this.begin + DAY_MS; day < this.until.getTime(); day += DAY_MS) {
      const date = new Date(day).getUTCDate();
      if (date === 24) this.payIn(day);
      for (const person of PEOPLE) {
        this.payBills(person, day, date);
        this.shop(person, day);
      }
    }
    this.loseCard();
    return this.scenes.filter(({ at }) => at < this.until).sort((a, b) => a.at.getTime() - b.at.getTime());
  }

  private openAccounts(): void {
    this.add(this.begin, { kind: 'open', account: DEMO_ACCOUNT, holder: 'Demo account' });
    this.add(this.begin, {
      ...{ kind: 'post', account: DEMO_ACCOUNT, type: 'credit' },
      ...{ amount: DEMO_BALANCE, description: 'Opening deposit' },
    });
    for (const [account, { holder }] of Object.entries(BUSINESSES)) {
      this.add(this.begin + HOUR_MS, { kind: 'open', account, holder });
    }
    for (const { account, owner, holder, savings, overdraftLimit } of PEOPLE) {
      const at = this.begin + 9 * HOUR_MS;
      this.add(at, { kind: 'open', account, owner, holder });
      this.add(at, {
        ...{ kind: 'post', account, type: 'credit', amount: savings, description: 'Opening deposit' },
      });
      if (overdraftLimit) this.add(at, { kind: 'change', account, changes: { overdraftLimit } });
    }
  }

  /** What the employer takes in a month is a little more than what it pays. */
  private payIn(day: number): void {
    const salaries = PEOPLE.reduce((sum, { salary }) => sum + salary, 0n);
    this.add(day + 10 * HOUR_MS, {
      ...{ kind: 'post', account: 'bakery', type: 'credit', amount: salaries + this.cents(100_00, 2_000_00) },
      description: 'Takings of the month',
    });
    for (const account of ['grocer', 'homes']) {
      this.add(day + 11 * HOUR_MS, {
        ...{ kind: 'post', account, type: 'debit', amount: this.cents(500_00, 1_500_00) },
        description: 'Payment to suppliers',
      });
    }
  }

  private payBills({ account, salary, rent, holder }: Person, day: number, date: number): void {
    const month = new Date(day).toISOString().slice(0, 7);
    const pay = (hour: number, from: string, to: string, amount: Money, description: string) =>
      this.add(day + hour * HOUR_MS, {
        ...{ kind: 'transfer', from, to, amount, description, reference: `${month}-${account}` },
      });
    if (date === 25) pay(6, 'bakery', account, salary, `Salary ${month}, ${holder}`);
    if (date === 1) pay(7, account, 'homes', rent, `Rent ${month}`);
    if (date === 10) pay(8, account, 'energy', this.cents(35_00, 92_00), `Electricity ${month}`);
    if (date === 15 && this.chance(0.8)) {
      this.add(day + 17 * HOUR_MS, {
        ...{ kind: 'post', account, type: 'debit', amount: BigInt(this.integer(2, 8)) * 20_00n },
        description: 'Cash machine, Station Square',
      });
    }
  }

  private shop({ account }: Person, day: number): void {
    if (this.chance(0.3)) this.buyGroceries(account, day);
    if (this.chance(0.35)) {
      this.add(day + this.integer(7, 15) * HOUR_MS, {
        ...{ kind: 'transfer', from: account, to: 'cafe', amount: this.cents(2_80, 14_00) },
        description: 'Corner Café',
      });
    }
    if (this.chance(0.05)) this.fillUp(account, day);
    if (this.chance(0.04)) this.buyTicket(account, day);
  }

  /** A card payment is put on hold at once, and captured in the night. Some of it may come back. */
  private buyGroceries(account: string, day: number): void {
    const amount = this.cents(8_00, 95_00);
    const { hold } = this.payByCard(account, day, amount, 'Green Grocer');
    this.add(day + 27 * HOUR_MS, {
      kind: 'capture',
      hold,
      amount,
      to: 'grocer',
      description: 'Green Grocer',
    });
    if (!this.chance(0.05)) return;
    this.add(day + 4 * DAY_MS + 14 * HOUR_MS, {
      kind: 'refund',
      hold,
      amount: amount / BigInt(this.integer(1, 4)),
    });
  }

  /** The pump reserves the most that it gives. Now and then it never says how much it was. */
  private fillUp(account: string, day: number): void {
    const { hold, at } = this.payByCard(account, day, 100_00n, 'Ring Road Petrol');
    if (this.chance(0.8)) {
      const amount = this.cents(25_00, 99_00);
      this.add(at + 10 * MINUTE_MS, {
        kind: 'capture',
        hold,
        amount,
        to: 'petrol',
        description: 'Ring Road Petrol',
      });
    } else this.add(at + DAY_MS + HOUR_MS, { kind: 'expiry', account });
  }

  private buyTicket(account: string, day: number): void {
    const amount = this.cents(19_90, 119_00);
    const { hold, at } = this.payByCard(account, day, amount, 'City Rail');
    if (this.chance(0.2)) this.add(at + 3 * HOUR_MS, { kind: 'void', hold });
    else
      this.add(day + 27 * HOUR_MS, { kind: 'capture', hold, amount, to: 'rail', description: 'City Rail' });
  }

  private payByCard(account: string, day: number, amount: Money, description: string) {
    const at = day + this.integer(9, 20) * HOUR_MS;
    const hold = `card-${++this.holds}`;
    this.add(at, {
      ...{ kind: 'hold', account, hold, amount, description, reference: hold },
      expiresAt: new Date(at + DAY_MS),
    });
    return { hold, at };
  }

  /** Somebody loses a card, has it blocked, and finds it three days later. */
  private loseCard(): void {
    const { account } = PEOPLE[1] as Person;
    const at = this.begin + 200 * DAY_MS + 13 * HOUR_MS;
    this.add(at, { kind: 'change', account, changes: { status: 'debits_blocked' } });
    this.add(at + 3 * DAY_MS, { kind: 'change', account, changes: { status: 'open' } });
  }

  /** Scenes are at full hours, so that many share a batch; each day's are shifted by some minutes. */
  private add(atMs: number, act: Act): void {
    const shiftMs = (Math.floor(atMs / DAY_MS) * 7_919_000) % (50 * MINUTE_MS);
    this.scenes.push({ at: new Date(atMs + shiftMs), act });
  }

  private chance(probability: number): boolean {
    return uniformFloat64(this.generator) < probability;
  }

  private integer(min: number, max: number): number {
    return uniformInt(this.generator, min, max);
  }

  private cents(min: number, max: number): Money {
    return BigInt(this.integer(min, max));
  }
}
