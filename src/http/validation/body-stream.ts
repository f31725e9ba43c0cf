import type { IncomingMessage } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { RequestTimeoutException } from '@nestjs/common';
import { GatheredBytes } from './gathered-bytes.js';

/** Bytes read ahead; beyond them the client has to wait. */
const READ_AHEAD_BYTES = 64 * 1024;

/**
 * A request's body, in pieces that hold what has arrived since the last one was asked for: the cost depends only on the
 * number of bytes, however small the client's chunks are. Fails when the rest does not arrive in time, or can't. What
 * arrives after the reader has given up is discarded, within Node's limits.
 */
export async function* bodyStream(request: IncomingMessage, timeoutMs: number): AsyncGenerator<Buffer> {
  const { socket } = request;
  const come = new GatheredBytes();
  let failed = false;
  let wake = (): void => undefined;
  const take = (piece: Buffer) => {
    come.append(piece);
    if (come.length >= READ_AHEAD_BYTES) request.pause();
    wake();
  };
  const giveUp = () => {
    failed = !request.complete;
    wake();
  };
  const timer = setTimeout(giveUp, timeoutMs);
  // A client that has ended its side can't send the rest.
  socket.once('end', giveUp);
  request.on('data', take).once('end', giveUp).once('close', giveUp);
  try {
    for (;;) {
      if (come.length > 0) {
        const piece = Buffer.from(come.bytes);
        come.clear();
        yield piece;
        request.resume();
      } else if (failed) {
        throw new RequestTimeoutException();
      } else if (request.readableEnded) {
        return;
      } else {
        await new Promise<void>((resolve) => (wake = resolve));
        // Node delivers chunk by chunk; what arrives in one turn of the event loop becomes one piece.
        await nextTurn();
      }
    }
  } finally {
    clearTimeout(timer);
    socket.off('end', giveUp);
    request.off('data', take).off('end', giveUp).off('close', giveUp).resume();
  }
}
