import type { IncomingMessage } from 'node:http';
import { PassThrough } from 'node:stream';
import { RequestTimeoutException } from '@nestjs/common';

/**
 * A request's body as a stream that can be given up without harm to the answer, which the request itself could not be:
 * they share a socket. It fails when the rest does not come within the time, or never will. What comes after it was given
 * up is thrown away, by Node's bounds.
 */
export function received(request: IncomingMessage, timeoutMs: number): PassThrough {
  const body = new PassThrough();
  const { socket } = request;
  const giveUp = () => {
    if (!request.complete) body.destroy(new RequestTimeoutException());
  };
  const timer = setTimeout(giveUp, timeoutMs);
  // A client that ends its side can't send the rest.
  socket.once('end', giveUp);
  request.once('close', giveUp);
  body.on('error', () => undefined);
  body.once('close', () => {
    clearTimeout(timer);
    socket.off('end', giveUp);
    request.off('close', giveUp);
    request.unpipe(body);
    request.resume();
  });
  return request.pipe(body);
}
