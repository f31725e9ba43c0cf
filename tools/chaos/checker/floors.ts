/** The oldest version that a read that begins now may return. */
export interface Floor {
  /** The newest version that any instance has acknowledged or that the database is known to have reached. */
  readonly strict: number;
  /** The newest one that any instance has acknowledged. */
  readonly acknowledged: number;
  /** The newest one that the same process has acknowledged. */
  readonly own: number;
}

/** Keeps the newest known versions while the history is read. */
export class Floors {
  private readonly seen = new Map<number, number>();
  private readonly acknowledged = new Map<number, number>();
  private readonly own = new Map<string, number>();

  /** Records a version that a client has seen, so it must have been committed. */
  show(accountId: number, version: number): void {
    raise(this.seen, accountId, version);
  }

  acknowledge(accountId: number, version: number, instance: string): void {
    this.show(accountId, version);
    raise(this.acknowledged, accountId, version);
    raise(this.own, `${instance} ${accountId}`, version);
  }

  at(accountId: number, instance: string): Floor {
    return {
      strict: this.seen.get(accountId) ?? 0,
      acknowledged: this.acknowledged.get(accountId) ?? 0,
      own: this.own.get(`${instance} ${accountId}`) ?? 0,
    };
  }
}

function raise<K>(versions: Map<K, number>, key: K, version: number): void {
  if (version > (versions.get(key) ?? 0)) versions.set(key, version);
}
