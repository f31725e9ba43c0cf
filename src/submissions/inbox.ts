import type { ConsumeMessage } from 'amqplib';

/** Messages that have arrived over a channel and wait to be taken. */
export class Inbox {
  private arrived: ConsumeMessage[] = [];
  private problem: Error | undefined;
  private onChange = Promise.withResolvers<void>();

  push(message: ConsumeMessage): void {
    this.arrived.push(message);
    this.onChange.resolve();
  }

  /** The channel is lost: what has arrived will arrive again, over another one. */
  close(problem: Error): void {
    this.problem ??= problem;
    this.onChange.resolve();
  }

  /** @throws why it was closed */
  take(max: number): ConsumeMessage[] {
    if (this.problem) throw this.problem;
    return this.arrived.splice(0, max);
  }

  /** Resolves when there is something to take, or it is closed. */
  async changed(): Promise<void> {
    if (this.arrived.length > 0 || this.problem) return;
    this.onChange = Promise.withResolvers<void>();
    await this.onChange.promise;
  }
}
