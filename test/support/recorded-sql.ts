import { Client } from 'pg';

/** A query as it was sent, and the activity during which it was sent. */
export interface Recorded {
  readonly during: string;
  readonly sql: string;
}

type AnyQuery = (...given: unknown[]) => unknown;

/** Records what every connection of this process sends from now on. */
export class SqlRecorder {
  private readonly seen = new Map<string, Recorded>();
  private readonly query = Reflect.get(Client.prototype, 'query') as AnyQuery;
  private during = '';

  constructor() {
    const { query } = this;
    const record = (statement: unknown) => this.record(statement);
    Client.prototype.query = function (this: Client, ...given: unknown[]): unknown {
      record(given[0]);
      return query.apply(this, given);
    } as Client['query'];
  }

  /** Runs work and records its queries under a name. */
  async recording(what: string, work: () => Promise<unknown>): Promise<void> {
    this.during = what;
    await work();
  }

  stop(): Recorded[] {
    Client.prototype.query = this.query as Client['query'];
    return [...this.seen.values()];
  }

  /** @param statement a text, a query config of pg, or a COPY stream */
  private record(statement: unknown): void {
    const sql = typeof statement === 'string' ? statement : (statement as { text: string }).text;
    this.seen.set(`${this.during}: ${sql}`, { during: this.during, sql });
  }
}

/** The commands of a query, split at the semicolons outside of quotes. */
export function commandsOf(sql: string): string[] {
  return (sql.match(/(?:'[^']*'|"[^"]*"|\$\$[\s\S]*?\$\$|[^;'"])+/g) ?? [])
    .map((command) => command.trim())
    .filter((command) => command !== '');
}
