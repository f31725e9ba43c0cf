import { Injectable, type OnModuleDestroy } from '@nestjs/common';

/**
 * Whether the service is about to stop: from then on it is not ready for new work, and tells
 * clients that keep their connections open to close them.
 */
@Injectable()
export class Lifecycle implements OnModuleDestroy {
  private isStopping = false;

  get stopping(): boolean {
    return this.isStopping;
  }

  stop(): void {
    this.isStopping = true;
  }

  onModuleDestroy(): void {
    this.stop();
  }
}
