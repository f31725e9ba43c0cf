import { setTimeout as sleep } from 'node:timers/promises';
import type { Caller, CallAnswer, Numbered } from './caller.js';
import {
  accountsOf,
  isCommand,
  type Change,
  type Command,
  type Follow,
  type Operation,
  type Post,
  type Submittable,
} from './checker/history.js';
import { CommandMaker, inBatch, newKey, type Kind } from './commands.js';
import type { Instance } from './instances.js';
import { Random } from './random.js';
import { STRANGER } from './senders.js';

export interface WorkloadSettings {
  readonly seed: number;
  readonly shards: number;
  /** Clients per pair of instance and shard, so that a pair that hangs does not leave the others idle. */
  readonly clientsPerPair: number;
  /** How often clients do what, where it differs from {@link MIX}. */
  readonly mix?: Partial<Record<Act, number>>;
  /** The same for the kinds of their commands. */
  readonly kinds?: Partial<Record<Kind, number>>;
  /** The chance that a transfer goes to another shard. */
  readonly betweenShards?: number;
}

/** What clients do. */
type Act =
  | 'command'
  | 'submit'
  | 'commandTwice'
  | 'batch'
  | 'atomicBatch'
  | 'dryRun'
  | 'repeat'
  | 'reuseKey'
  | 'change'
  | 'rivals'
  | 'openAndClose'
  | 'freezeTarget'
  | 'readBalance'
  | 'list'
  | 'readHold'
  | 'readTransfer'
  | 'open';

const MIX: Readonly<Record<Act, number>> = {
  ...{
    command: 58,
    submit: 12,
    commandTwice: 6,
    batch: 3,
    atomicBatch: 4,
    dryRun: 1,
    repeat: 6,
    reuseKey: 4,
    change: 2,
    rivals: 1,
  },
  ...{ readBalance: 20, list: 5, readHold: 3, readTransfer: 2, open: 1, openAndClose: 1, freezeTarget: 1 },
};

const COLD_ACCOUNTS_PER_SHARD = 15;
const FOREIGN_ACCOUNTS_PER_SHARD = 2;
const LONGEST_PAUSE_MS = 20;
const LONGEST_BACKOFF_MS = 100;
/** The chance that a client gives up a request whose outcome is certain, at each try. */
const GIVE_UP = 0.3;
/** How many operations a client remembers, to repeat them. */
const REMEMBERED = 200;
const LONGEST_BATCH = 6;
/** The most commands that a client submits one after the other. */
const MOST_SUBMISSIONS = 5;
/** How often a client asks what became of one before it goes on. */
const FOLLOWED = 20;
/** How many ask at the end. */
const FOLLOWERS = 10;
const OPENING_TRIES = 100;

/** Clients that each send one request after the other until they are stopped. */
export class Workload {
  private readonly accounts: number[][];
  /** The accounts of another owner. */
  private readonly foreign: number[][];
  /** Account → the newest version that some client has learned. */
  private readonly versions = new Map<number, number>();
  /** The same of revisions. */
  private readonly revisions = new Map<number, number>();
  private readonly clients: Promise<void>[] = [];
  /**
   * Unknown outcomes whose retry was rejected. It may have overtaken the first request, so they are retried at the end.
   */
  private readonly toSettle: Numbered[] = [];
  /** The same of atomic batches. */
  private readonly batchesToSettle: (readonly Numbered[])[] = [];
  /** What was accepted before it was decided. */
  private readonly submissions: Follow[] = [];
  /** Transfers to other shards that were answered before they were decided. */
  private readonly begun: Begun[] = [];
  private readonly commands: CommandMaker;
  private stopped = false;
  private abandoned = false;

  constructor(
    private readonly caller: Caller,
    private readonly instances: readonly Instance[],
    private readonly settings: WorkloadSettings,
  ) {
    this.accounts = Array.from({ length: settings.shards }, () => []);
    this.foreign = this.accounts.map(() => []);
    const { accounts, foreign, versions, revisions } = this;
    const { kinds, betweenShards } = settings;
    this.commands = new CommandMaker({ accounts, foreign, versions, revisions }, kinds, betweenShards);
  }

  /** Every account of the clients' owner. */
  get accountIds(): readonly number[] {
    return this.accounts.flat();
  }

  /** Opens the accounts, the first ones of each shard being its hot ones. */
  async open(): Promise<void> {
    const random = new Random(this.settings.seed, 0);
    await this.openAll(random, this.accounts, 1 + COLD_ACCOUNTS_PER_SHARD);
    await this.openAll(random, this.foreign, FOREIGN_ACCOUNTS_PER_SHARD, STRANGER);
  }

  private async openAll(random: Random, to: number[][], wanted: number, owner?: string): Promise<void> {
    for (let tries = 0; to.some((ids) => ids.length < wanted); tries++) {
      if (tries > OPENING_TRIES * this.settings.shards) throw new Error('accounts could not be opened');
      this.addAccount(await this.openAccount(random, random.pick(this.instances), 10_000, owner), to);
    }
  }

  start(): void {
    let stream = 0;
    for (const home of this.instances) {
      for (let shard = 0; shard < this.settings.shards; shard++) {
        for (let n = 0; n < this.settings.clientsPerPair; n++) {
          this.clients.push(this.run(new Random(this.settings.seed, ++stream), home, shard));
        }
      }
    }
  }

  /** Lets every client finish. Afterwards the only unknown outcomes with a key are those for {@link settle}. */
  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all(this.clients);
  }

  /** Stops without finding out unknown outcomes. */
  abandon(): void {
    this.stopped = true;
    this.abandoned = true;
  }

  /**
   * Asks what became of each submission, and of each transfer that was pending, until all are decided or it takes too
   * long. Call it when the clients are done.
   */
  async followAll(patienceMs: number): Promise<void> {
    const giveUpAt = performance.now() + patienceMs;
    const left = [...this.submissions, ...this.begun];
    const follow = async (random: Random): Promise<void> => {
      for (let one = left.shift(); one && !this.abandoned; one = left.shift()) {
        const isDecided = () => ('of' in one ? this.isDecided(one, random) : this.isOver(one, random));
        while (!(await isDecided()) && performance.now() < giveUpAt && !this.abandoned)
          await sleep(random.integer(1, LONGEST_BACKOFF_MS));
        // Its answer must be that of the transfer now.
        if ('transferId' in one && one.command.key !== undefined)
          await this.attempt(one.op, one.command, random.pick(this.instances), 10_000);
      }
    };
    await Promise.all(
      Array.from({ length: FOLLOWERS }, (_, n) => follow(new Random(this.settings.seed, -n))),
    );
  }

  /** Retries the outcomes that a rejection did not decide. Call it when no other request is in flight. */
  async settle(): Promise<void> {
    for (const { op, command } of this.toSettle)
      await this.untilKnown(op, command, new Random(this.settings.seed, op));
    for (const items of this.batchesToSettle) {
      const random = new Random(this.settings.seed, items[0]?.op ?? 0);
      while (!this.abandoned) {
        const outcome = await this.attemptTogether(items, random.pick(this.instances), 10_000);
        if (outcome === 'applied' || outcome === 'refused') break;
        await sleep(random.integer(1, LONGEST_BACKOFF_MS));
      }
    }
  }

  private async run(random: Random, home: Instance, shard: number): Promise<void> {
    const client = new Client(random, home, shard);
    while (!this.stopped) {
      await this.step(client);
      await sleep(random.integer(0, LONGEST_PAUSE_MS));
    }
  }

  private step(client: Client): Promise<unknown> {
    const { random, shard } = client;
    const mix = Object.entries({ ...MIX, ...this.settings.mix }) as [Act, number][];
    const { act } = random.weighted(mix.map(([act, weight]) => ({ act, weight })));
    const accountId = this.commands.account(random, shard);
    switch (act) {
      case 'command':
        return this.carryOut(client, this.commands.next(random, shard));
      case 'submit':
        return this.submitSome(client);
      case 'commandTwice':
        return this.sendTwice(client);
      case 'batch':
        return this.sendBatch(client);
      case 'atomicBatch':
        return this.sendTogether(client);
      case 'dryRun':
        return this.read(client, this.commands.dryRun(random, shard));
      case 'repeat':
        return this.repeat(client);
      case 'reuseKey':
        return this.reuseKey(client);
      case 'change':
        return this.read(client, this.commands.change(random, shard));
      case 'rivals':
        return Promise.all(this.commands.rivals(random, shard).map((change) => this.read(client, change)));
      case 'readBalance':
        return this.readBalance(client, accountId);
      case 'list':
        return this.read(client, { kind: 'list', accountId });
      case 'readHold':
        return this.read(client, this.commands.readHold(random, shard));
      case 'readTransfer':
        return this.read(client, this.commands.readTransfer(random, shard));
      case 'open':
        return this.openAccount(random, client.home, client.timeoutMs()).then((id) => this.addAccount(id));
      case 'openAndClose':
        return this.openAndClose(client);
      case 'freezeTarget':
        return this.freezeTarget(client);
    }
  }

  /** Retries until the outcome is known; without a key it stops after an unknown outcome. */
  private async carryOut(client: Client, command: Command): Promise<void> {
    const op = this.caller.intend(command);
    let unknown = false;
    for (let instance = client.home; !this.abandoned; instance = client.random.pick(this.instances)) {
      const answer = await this.attempt(op, command, instance, client.timeoutMs());
      const outcome = outcomeOf(answer);
      if (outcome === 'applied') return client.remember(op, command);
      if (outcome === 'pending') return this.waitFor(client, this.hasBegun(op, command, answer));
      if (outcome === 'refused') {
        if (unknown) this.toSettle.push({ op, command });
        return;
      }
      unknown ||= outcome === 'unknown';
      if (unknown && command.key === undefined) return;
      if (!unknown && client.random.chance(GIVE_UP)) return;
      await sleep(client.random.integer(1, LONGEST_BACKOFF_MS));
    }
  }

  private hasBegun(op: number, command: Command, { id: transferId = '' }: CallAnswer): Begun {
    const begun = { op, command, transferId };
    this.begun.push(begun);
    return begun;
  }

  /** Asks for the transfer, repeats its request, or goes on. */
  private async waitFor(client: Client, begun: Begun): Promise<void> {
    const { random } = client;
    const { op, command } = begun;
    client.remember(op, command);
    if (command.key !== undefined && random.chance(0.3))
      await this.attempt(op, command, random.pick(this.instances), client.timeoutMs());
    if (!random.chance(0.5)) return;
    for (let left = FOLLOWED; left > 0 && !this.stopped; left--) {
      if (await this.isOver(begun, random)) return;
      await sleep(random.integer(1, LONGEST_BACKOFF_MS));
    }
  }

  /** True also where an owner is told nothing. */
  private async isOver({ transferId, command }: Begun, random: Random): Promise<boolean> {
    const read: Operation = { kind: 'read-transfer', transferId, accountIds: accountsOf(command) };
    const answer = await this.attempt(this.caller.intend(read), read, random.pick(this.instances), 10_000);
    return answer.status === 404 || (answer.status === 200 && answer.transferStatus !== 'pending');
  }

  /** Freezes an account while money for it is on its way from another shard. */
  private async freezeTarget(client: Client): Promise<void> {
    const { random } = client;
    const asked = this.commands.freezing(random, client.shard);
    if (!asked) return;
    const { transfers, freeze, open } = asked;
    const late = async (work: () => Promise<unknown>, ms: number) => {
      await sleep(ms);
      await work();
    };
    await Promise.all([
      ...transfers.map((transfer) =>
        late(() => this.carryOut(client, transfer), random.integer(0, LONGEST_PAUSE_MS)),
      ),
      late(() => this.read(client, freeze), random.integer(0, LONGEST_PAUSE_MS)),
    ]);
    await this.read(client, open);
  }

  /** Submits commands one after the other, often to the same accounts: they are to take effect in this order. */
  private async submitSome(client: Client): Promise<void> {
    const { random, shard } = client;
    for (let left = random.integer(1, MOST_SUBMISSIONS); left > 0 && !this.abandoned; left--) {
      const submitted = this.commands.submission(random, shard);
      const submission = await this.submit(client, this.caller.intend(submitted), submitted);
      if (submission) await this.lookAfter(client, submission);
    }
  }

  /** Retries until it is accepted. Where there is no broker it is decided at once instead, like any command. */
  private async submit(client: Client, op: number, submitted: Submittable): Promise<Follow | undefined> {
    const { random } = client;
    let unknown = false;
    for (let instance = client.home; !this.abandoned; instance = random.pick(this.instances)) {
      const answer = await this.attempt(op, submitted, instance, client.timeoutMs(), true);
      const outcome = outcomeOf(answer);
      if (outcome === 'accepted') return this.accepted(client, op, submitted, answer);
      if (outcome === 'applied') client.remember(op, submitted);
      if (outcome === 'refused' && unknown) this.toSettle.push({ op, command: submitted });
      if (outcome === 'applied' || outcome === 'refused') return undefined;
      unknown ||= outcome === 'unknown';
      if (!unknown && random.chance(GIVE_UP)) return undefined;
      await sleep(random.integer(1, LONGEST_BACKOFF_MS));
    }
    return undefined;
  }

  private accepted(client: Client, op: number, submitted: Submittable, { id = '' }: CallAnswer): Follow {
    const submission: Follow = { kind: 'follow', of: op, submitted, submissionId: id };
    this.submissions.push(submission);
    client.remember(op, submitted, true);
    return submission;
  }

  /** Asks what became of it, repeats it at once or to be decided later, or goes on. */
  private async lookAfter(client: Client, submission: Follow): Promise<void> {
    const { random } = client;
    const { of, submitted } = submission;
    if (random.chance(0.25))
      await this.attempt(of, submitted, random.pick(this.instances), client.timeoutMs(), anyWay(random));
    if (!random.chance(0.35)) return;
    for (let left = FOLLOWED; left > 0 && !this.stopped; left--) {
      if (await this.isDecided(submission, random)) return;
      await sleep(random.integer(1, LONGEST_BACKOFF_MS));
    }
  }

  /** True also where an owner is told nothing, because the account is another owner's. */
  private async isDecided(submission: Follow, random: Random): Promise<boolean> {
    const op = this.caller.intend(submission);
    const answer = await this.attempt(op, submission, random.pick(this.instances), 10_000);
    return answer.status === 404 || answer.submission === 'posted' || answer.submission === 'refused';
  }

  /** Repeats a request, like a client that did not receive its answer. */
  private async repeat(client: Client): Promise<void> {
    const earlier = client.recall();
    if (!earlier) return;
    const { op, command, submitted } = earlier;
    const async = submitted ? anyWay(client.random) : undefined;
    await this.attempt(op, command, client.random.pick(this.instances), client.timeoutMs(), async);
  }

  /** Sends another request with a used key, like a client with a defect. */
  private async reuseKey(client: Client): Promise<void> {
    const earlier = client.recall();
    if (!earlier) return;
    const [accountId = 0] = accountsOf(earlier.command);
    const type = client.random.chance(0.5) ? 'credit' : 'debit';
    const post: Post = { kind: 'post', accountId, type, key: earlier.command.key };
    const op = this.caller.intend(post);
    if (earlier.submitted && client.random.chance(0.5)) await this.submit(client, op, post);
    else await this.untilKnown(op, post, client.random);
  }

  /** Sends the same request to all instances at the same time, once or twice each. */
  private async sendTwice(client: Client): Promise<void> {
    const command = this.commands.next(client.random, client.shard, true);
    const op = this.caller.intend(command);
    const timeoutMs = client.timeoutMs();
    const twice = client.random.chance(0.5) ? this.instances : [];
    const answers = await Promise.all(
      [...this.instances, ...twice].map((instance) => this.attempt(op, command, instance, timeoutMs)),
    );
    const outcomes = answers.map(outcomeOf);
    if (outcomes.includes('applied')) client.remember(op, command);
    else if (outcomes.includes('pending'))
      this.hasBegun(op, command, answers[outcomes.indexOf('pending')] as CallAnswer);
    else if (outcomes.includes('unknown')) await this.untilKnown(op, command, client.random, true);
  }

  /** Sends several commands together. */
  private async sendBatch(client: Client): Promise<void> {
    const { random, shard } = client;
    const items = Array.from({ length: random.integer(2, LONGEST_BATCH) }, (): Numbered => {
      const command = inBatch(this.commands.next(random, shard));
      return { op: this.caller.intend(command), command };
    });
    const answers = await this.caller.attemptBatch(items, client.home, client.timeoutMs());
    for (const [place, { op, command }] of items.entries()) {
      const answer = answers[place];
      if (!answer) continue;
      this.learn(op, command, answer);
      const outcome = outcomeOf(answer);
      if (outcome === 'applied') client.remember(op, command);
      if (outcome === 'pending') this.hasBegun(op, command, answer);
      if (outcome === 'unknown' && command.key !== undefined)
        await this.untilKnown(op, command, random, true);
    }
  }

  /** Sends several commands that are to be applied together, like {@link carryOut}. */
  private async sendTogether(client: Client): Promise<void> {
    const { random } = client;
    const commands = this.commands.together(random, client.shard);
    const items = commands.map((command): Numbered => ({ op: this.caller.intend(command), command }));
    const keyed = commands.every(({ key }) => key !== undefined);
    let unknown = false;
    for (let instance = client.home; !this.abandoned; instance = random.pick(this.instances)) {
      const outcome = await this.attemptTogether(items, instance, client.timeoutMs());
      if (outcome === 'applied') return items.forEach(({ op, command }) => client.remember(op, command));
      if (outcome === 'refused') {
        if (unknown) this.batchesToSettle.push(items);
        return;
      }
      unknown ||= outcome === 'unknown';
      if (unknown && !keyed) return;
      if (!unknown && random.chance(GIVE_UP)) return;
      await sleep(random.integer(1, LONGEST_BACKOFF_MS));
    }
  }

  /** @returns the outcome of all of them: they are applied together or not at all */
  private async attemptTogether(
    items: readonly Numbered[],
    instance: Instance,
    timeoutMs: number,
  ): Promise<Outcome> {
    const answers = await this.caller.attemptBatch(items, instance, timeoutMs, true);
    const outcomes = answers.map(outcomeOf);
    // A refusal may tell of a version that there never was.
    if (outcomes.every((outcome) => outcome === 'applied'))
      items.forEach(({ op, command }, place) => this.learn(op, command, answers[place] as CallAnswer));
    return (
      (['unknown', 'not-applied', 'refused'] as const).find((one) => outcomes.includes(one)) ?? 'applied'
    );
  }

  private async untilKnown(op: number, command: Command, random: Random, mayOvertake = false): Promise<void> {
    while (!this.abandoned) {
      const answer = await this.attempt(op, command, random.pick(this.instances), 10_000);
      const outcome = outcomeOf(answer);
      if (outcome === 'refused' && mayOvertake) this.toSettle.push({ op, command });
      if (outcome === 'pending') this.hasBegun(op, command, answer);
      if (outcome === 'pending') return;
      if (outcome === 'applied' || outcome === 'refused') return;
      await sleep(random.integer(1, LONGEST_BACKOFF_MS));
    }
  }

  private readBalance(client: Client, accountId: number): Promise<CallAnswer | undefined> {
    const { random } = client;
    const minVersion = random.chance(0.2) ? this.versions.get(accountId) : undefined;
    return this.read(client, {
      kind: 'balance',
      accountId,
      ...(minVersion !== undefined && { minVersion }),
      ...(random.chance(0.15) && { noCache: true }),
    });
  }

  /** Sends what is not retried: it changes nothing, or no harm is done if it does not. */
  private async read(client: Client, operation: Operation | undefined): Promise<CallAnswer | undefined> {
    if (!operation) return undefined;
    const instance = client.random.chance(0.7) ? client.home : client.random.pick(this.instances);
    return this.attempt(this.caller.intend(operation), operation, instance, client.timeoutMs());
  }

  /** Retries until the outcome is known. */
  private async openAccount(
    random: Random,
    home: Instance,
    timeoutMs: number,
    owner?: string,
  ): Promise<number | undefined> {
    const operation: Operation = { kind: 'open', key: newKey(random), owner };
    const op = this.caller.intend(operation);
    let unknown = false;
    for (let instance = home; !this.abandoned; instance = random.pick(this.instances)) {
      const answer = await this.attempt(op, operation, instance, timeoutMs);
      const outcome = outcomeOf(answer);
      if (outcome === 'applied') return answer.accountId;
      unknown ||= outcome === 'unknown';
      if (outcome === 'refused' || (!unknown && random.chance(GIVE_UP))) break;
      await sleep(random.integer(1, LONGEST_BACKOFF_MS));
    }
    return undefined;
  }

  /** Opens an account that nobody else needs, empties and closes it, while money may still arrive. */
  private async openAndClose(client: Client): Promise<void> {
    const { random } = client;
    const accountId = await this.openAccount(random, client.home, client.timeoutMs());
    if (accountId === undefined) return;
    const { rows } = (await this.read(client, { kind: 'list', accountId })) ?? {};
    const opening = rows?.at(-1);
    if (!opening) return;
    const keyed = { accountId, key: newKey(random) };
    await this.carryOut(client, { kind: 'reverse', transactionId: opening.id, ...keyed });
    const deposit = (): Command =>
      random.chance(0.5)
        ? this.commands.payInto(random, accountId)
        : { kind: 'post', accountId, type: 'credit', key: newKey(random) };
    const change = (status: string): Change => ({ kind: 'change', accountId, status });
    const closing = this.read(client, change('closed'));
    if (random.chance(0.5)) await this.carryOut(client, deposit());
    await closing;
    await this.carryOut(client, deposit());
    await this.read(client, change('open'));
  }

  private addAccount(accountId: number | undefined, to = this.accounts): void {
    if (accountId === undefined) return;
    const accounts = to[(accountId - 1) % this.settings.shards];
    if (!accounts?.includes(accountId)) accounts?.push(accountId);
  }

  private async attempt(
    op: number,
    operation: Operation,
    instance: Instance,
    timeoutMs: number,
    async?: true,
  ): Promise<CallAnswer> {
    const answer = await this.caller.attempt(op, operation, instance, timeoutMs, async);
    this.learn(op, operation, answer);
    return answer;
  }

  private learn(op: number, operation: Operation, answer: CallAnswer): void {
    // A dry run tells of a version that there is not.
    if ('dryRun' in operation && operation.dryRun) return;
    if (operation.kind === 'follow') {
      if (answer.submission === 'posted') this.commands.learn(operation.of, operation.submitted, answer);
      return;
    }
    const version = answer.version ?? answer.currentVersion;
    const accountId = operation.kind === 'open' ? answer.accountId : accountsOf(operation)[0];
    if (version && accountId !== undefined) this.versions.set(accountId, version);
    const revision = answer.revision ?? answer.currentRevision;
    if (revision !== undefined && accountId !== undefined) this.revisions.set(accountId, revision);
    const isMade = answer.status === 201 || answer.transferStatus === 'pending';
    if (isMade && isCommand(operation)) this.commands.learn(op, operation, answer);
  }
}

/** A command that was applied or accepted. */
interface Done extends Numbered {
  /** Whether it was to be decided later. */
  readonly submitted: boolean;
}

/** A transfer to another shard that was pending when it was answered. */
interface Begun extends Numbered {
  readonly transferId: string;
}

/** At once, or to be decided later. */
const anyWay = (random: Random): true | undefined => (random.chance(0.5) ? true : undefined);

/** The memory of one client. */
class Client {
  private readonly done: Done[] = [];

  constructor(
    readonly random: Random,
    readonly home: Instance,
    readonly shard: number,
  ) {}

  /** Some clients are impatient. */
  timeoutMs(): number {
    return this.random.chance(0.2) ? this.random.integer(200, 2_000) : 12_000;
  }

  remember(op: number, command: Command, submitted = false): void {
    if (command.key === undefined) return;
    this.done.push({ op, command, submitted });
    if (this.done.length > REMEMBERED) this.done.shift();
  }

  recall(): Done | undefined {
    return this.done.length === 0 ? undefined : this.random.pick(this.done);
  }
}

/** Errors of 503s that promise that nothing was applied. */
const NOT_APPLIED = ['Overloaded', 'Credential store unavailable', 'Broker unavailable'];

type Outcome = 'applied' | 'accepted' | 'pending' | 'refused' | 'not-applied' | 'unknown';

/**
 * What an answer to a command or an opening means: not-applied may be tried again, refused may not, accepted is to be
 * decided later, and pending is a transfer that has begun.
 */
function outcomeOf({ status, error, transferStatus }: CallAnswer): Outcome {
  if (status === 200 || status === 201 || (status === 409 && error?.startsWith('Duplicate ')))
    return 'applied';
  if (status === 202) return transferStatus === 'pending' ? 'pending' : 'accepted';
  if (status === -1 || status === 408 || (status === 503 && NOT_APPLIED.includes(error ?? '')))
    return 'not-applied';
  if (status === 0 || status >= 500) return 'unknown';
  return 'refused';
}
