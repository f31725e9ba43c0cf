interface Flight<T> {
  readonly running: Promise<T>;
  /** The one after it, which begins when this one ends. */
  next: Promise<T> | undefined;
}

/**
 * Lets callers who want the same thing at the same time share one read. Nobody gets the result of a read that began
 * before the call, for that may be older than what the caller knows: whoever comes while a read runs shares the next.
 */
export class SingleFlight<Key, T> {
  private readonly flights = new Map<Key, Flight<T>>();

  /** @throws what the shared read fails with */
  run(key: Key, read: () => Promise<T>): Promise<T> {
    const flight = this.flights.get(key);
    if (!flight) return this.start(key, read);
    const start = () => this.start(key, read);
    flight.next ??= flight.running.then(start, start);
    return flight.next;
  }

  private start(key: Key, read: () => Promise<T>): Promise<T> {
    const flight: Flight<T> = { running: read(), next: undefined };
    this.flights.set(key, flight);
    const land = () => {
      if (!flight.next) this.flights.delete(key);
    };
    flight.running.then(land, land);
    return flight.running;
  }
}
