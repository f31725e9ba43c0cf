import { LoadConnection, type Answer } from './http-client.js';

/**
 * A process that loads the service and carries out its parent's tasks one after the other ({@link Task}). It is a
 * process of its own, so that it shares its event loop with neither the service nor the observer.
 */
export type Task =
  /** As many requests at a time as connections: the next one is sent when one is answered. */
  | { readonly kind: 'closed'; readonly connections: number; readonly seconds: number }
  /** A fixed number of requests per second, whatever happens to them; at most one outstanding per connection. */
  | { readonly kind: 'open'; readonly connections: number; readonly phases: readonly Phase[] }
  /** Connections that have sent one request each, and send nothing more. */
  | { readonly kind: 'idle'; readonly connections: number }
  /** Asks what was acknowledged since the start. */
  | { readonly kind: 'acknowledged' };

export interface Phase {
  readonly perSecond: number;
  readonly seconds: number;
}

/** What became of the requests due in one second. */
export interface Second {
  /** Latencies of the accepted ones, in milliseconds from the moment when they were due. */
  accepted: number[];
  /** Delay between due and sent, in milliseconds; part of the latencies. */
  sentLate: number[];
  overloaded: number;
  /** 503 Outcome unknown: the only answer that promises nothing. */
  unknown: number;
  limited: number;
  /** How many of the two above did not say when to try again. */
  withoutRetryAfter: number;
  /** How often each other status was received. */
  other: Record<number, number>;
  /** The connection ended without an answer. */
  lost: number;
  /** No connection was free. */
  unsent: number;
}

/** Requests are sent one by one, in order: key number n belongs to the n-th request. */
export interface Acknowledged {
  /**
   * Index: the number of the key; value: the id from the service; 0: rejected; -1: no answer, or an unknown outcome.
   */
  readonly ids: Float64Array;
  readonly keyPrefix: string;
}

const [, , port, firstAccount, lastAccount] = process.argv.map(Number) as [0, 0, number, number, number];
const BODY = '{"amount":1.00,"type":"Deposit"}';
const KEY_PREFIX = `overload-${process.pid}-${Date.now()}-`;
/** How many connections are opened at a time. */
const OPENED_AT_ONCE = 200;
const LAST_ANSWERS_MS = 30_000;

/** By the number of the request. */
const ids: number[] = [];
let outstanding = 0;

function nextRequest(): string {
  const key = KEY_PREFIX + ids.push(-1);
  const account = firstAccount + Math.floor(Math.random() * (lastAccount - firstAccount + 1));
  return (
    `POST /accounts/${account}/transactions HTTP/1.1\r\nHost: bank\r\nContent-Type: application/json\r\n` +
    `Idempotency-Key: ${key}\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`
  );
}

function send(connection: LoadConnection, dueMs: number, second: Second): void {
  const request = nextRequest();
  const index = ids.length - 1;
  outstanding += 1;
  second.sentLate.push(performance.now() - dueMs);
  connection.send(request, (answer) => {
    outstanding -= 1;
    if (answer && !answer.outcomeUnknown) ids[index] = answer.status === 201 ? answer.transactionId : 0;
    count(second, answer, performance.now() - dueMs);
  });
}

function count(second: Second, answer: Answer | undefined, latencyMs: number): void {
  if (!answer) second.lost += 1;
  else if (answer.status === 201) second.accepted.push(latencyMs);
  else if (answer.outcomeUnknown) second.unknown += 1;
  else if (answer.status === 503) second.overloaded += 1;
  else if (answer.status === 429) second.limited += 1;
  else second.other[answer.status] = (second.other[answer.status] ?? 0) + 1;
  if (answer && [503, 429].includes(answer.status) && !answer.hasRetryAfter) second.withoutRetryAfter += 1;
}

function newSecond(): Second {
  return {
    accepted: [],
    sentLate: [],
    overloaded: 0,
    unknown: 0,
    limited: 0,
    withoutRetryAfter: 0,
    other: {},
    lost: 0,
    unsent: 0,
  };
}

/** Opens connections, a few at a time, and reports each one that is or becomes free. */
async function openConnections(
  count: number,
  onFree: (connection: LoadConnection) => unknown,
): Promise<LoadConnection[]> {
  const connections: LoadConnection[] = [];
  while (connections.length < count) {
    const opened: Promise<void>[] = [];
    for (let n = Math.min(OPENED_AT_ONCE, count - connections.length); n > 0; n--) {
      opened.push(
        new Promise((resolve) =>
          connections.push(new LoadConnection(port, (free) => (resolve(), onFree(free)))),
        ),
      );
    }
    await Promise.all(opened);
  }
  return connections;
}

async function closedLoop(connections: number, seconds: number): Promise<Second[]> {
  const total = newSecond();
  const endMs = performance.now() + seconds * 1000;
  const opened = await openConnections(connections, (connection) => {
    if (performance.now() < endMs) send(connection, performance.now(), total);
  });
  while (performance.now() < endMs || outstanding > 0) await pause(10);
  for (const connection of opened) connection.close();
  return [total];
}

async function openLoop(connections: number, phases: readonly Phase[]): Promise<Second[]> {
  const free = new Set<LoadConnection>();
  const opened = await openConnections(connections, (connection) => free.add(connection));
  const seconds: Second[] = [];
  for (const { perSecond, seconds: length } of phases) {
    const startedMs = performance.now();
    for (let sent = 0; sent < perSecond * length;) {
      const dueNow = Math.min(perSecond * length, ((performance.now() - startedMs) / 1000) * perSecond);
      for (; sent < dueNow; sent++) {
        if (sent % perSecond === 0) seconds.push(newSecond());
        const second = seconds.at(-1) as Second;
        const connection = takeOpen(free);
        if (connection) send(connection, startedMs + (sent / perSecond) * 1000, second);
        else second.unsent += 1;
      }
      await pause(1);
    }
  }
  const giveUpMs = performance.now() + LAST_ANSWERS_MS;
  while (outstanding > 0 && performance.now() < giveUpMs) await pause(10);
  for (const connection of opened) connection.close();
  return seconds;
}

/** Connections that the server has closed meanwhile reconnect by themselves. */
function takeOpen(free: Set<LoadConnection>): LoadConnection | undefined {
  for (const connection of free) {
    free.delete(connection);
    if (connection.isOpen) return connection;
  }
  return undefined;
}

/** They stay open until this process ends. */
async function holdIdle(connections: number): Promise<number> {
  return (await openConnections(connections, () => undefined)).length;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function run(task: Task): Promise<unknown> {
  switch (task.kind) {
    case 'closed':
      return closedLoop(task.connections, task.seconds);
    case 'open':
      return openLoop(task.connections, task.phases);
    case 'idle':
      return holdIdle(task.connections);
    case 'acknowledged':
      return Promise.resolve({ ids: Float64Array.from(ids), keyPrefix: KEY_PREFIX } satisfies Acknowledged);
  }
}

process.on('message', (task: Task) => {
  void run(task).then((result) => process.send?.(result));
});
process.on('disconnect', () => process.exit(0));
