interface Flight<T> {
  readonly running: Promise<T>;
  /** The next one, which begins when this one ends. */
  next: Promise<T> | undefined;
}

/**
 * Lets simultaneous callers share one read. Nobody gets the result of a read that began before the call, because it may
 * be older than what the caller knows: callers that arrive during a read share the next one.
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
