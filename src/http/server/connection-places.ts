import type { Socket } from 'node:net';
import { networkOf } from '../../access/user.js';

/** Connections that are looked at to find an idle one; its owner has more than half of all, most of them idle if it floods. */
const LOOKS = 100;

/**
 * The connections of one server, shared by client address. An address may hold all places while nobody else needs one. Once
 * they are full, a newcomer from another address takes the place of an idle connection of the address that holds more than half.
 */
export class ConnectionPlaces {
  /** The oldest first. */
  private readonly byAddress = new Map<string, Set<Socket>>();
  private count = 0;

  /**
   * @param limit places
   * @param surplus connections beyond the limit that one address may have; further ones are closed at once
   * @param isIdle tells whether a connection has no request at work
   */
  constructor(
    private readonly limit: number,
    private readonly surplus: number,
    private readonly isIdle: (socket: Socket) => boolean,
  ) {}

  get size(): number {
    return this.count;
  }

  /** Counts a connection until it closes. @returns whether it has a place; false: it is beyond the limit */
  take(socket: Socket): boolean {
    const address = networkOf(socket.remoteAddress ?? '') ?? 'unknown';
    const own = this.byAddress.get(address) ?? new Set();
    this.byAddress.set(address, own);
    own.add(socket);
    this.count += 1;
    socket.once('close', () => this.release(address, socket));
    if (this.count <= this.limit) return true;
    if (!this.isMoreThanHalf(own)) return this.makeRoom();
    if (this.count > this.limit + this.surplus) socket.destroy();
    return false;
  }

  private isMoreThanHalf(sockets: ReadonlySet<Socket>): boolean {
    return sockets.size > this.limit / 2;
  }

  /** @returns whether the connections have become no more than before the newcomer */
  private makeRoom(): boolean {
    for (const [address, sockets] of this.byAddress) {
      if (!this.isMoreThanHalf(sockets)) continue;
      let looks = LOOKS;
      for (const socket of sockets) {
        if (looks-- === 0) return false;
        if (!this.isIdle(socket)) continue;
        this.release(address, socket);
        socket.destroy();
        return true;
      }
    }
    return false;
  }

  private release(address: string, socket: Socket): void {
    const sockets = this.byAddress.get(address);
    // It may have been released before it closed.
    if (!sockets?.delete(socket)) return;
    this.count -= 1;
    if (sockets.size === 0) this.byAddress.delete(address);
  }
}
