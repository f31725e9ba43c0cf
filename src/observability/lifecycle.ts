import { Injectable, type OnModuleDestroy } from '@nestjs/common';

/**
 * Knows whether the service is about to stop: from then on it is not ready for new work, and tells clients with open
 * connections to close them.
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
