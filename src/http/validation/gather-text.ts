import type { Readable } from 'node:stream';
import { BadRequestException, PayloadTooLargeException } from '@nestjs/common';
import { decodeUtf8, NotUtf8Error, withoutBom } from './decode-utf8.js';
import { GatheredBytes } from './gathered-bytes.js';

/**
 * Reads a stream to its end.
 *
 * @param done called once: with the text, less a byte order mark, or with a PayloadTooLargeException when it is over the
 *   limit, a NotUtf8Error, or a BadRequestException when the rest will not arrive
 */
export function gatherText(
  stream: Readable,
  limitBytes: number,
  done: (error: Error | null, text?: string) => void,
): void {
  // A request without a body emits no `end` event.
  if (stream.readableEnded) return done(null, '');
  const gathered = new GatheredBytes();
  // A small body arrives in one piece, which needs no copy.
  let only: Buffer | undefined;
  const take = (piece: Buffer) => {
    if (gathered.length + (only?.length ?? 0) + piece.length > limitBytes) {
      return settle(new PayloadTooLargeException());
    }
    if (!only && gathered.length === 0) {
      only = piece;
      return;
    }
    if (only) gathered.append(only);
    only = undefined;
    gathered.append(piece);
  };
  let settled = false;
  const settle = (error: Error | null, text?: string) => {
    if (settled) return;
    settled = true;
    // A stream that has ended delivers nothing more, so there is no need to stop listening.
    if (error) stream.off('data', take);
    done(error, text);
  };
  const end = () => {
    const text = decodeUtf8(withoutBom(only ?? gathered.bytes));
    if (text === undefined) settle(new NotUtf8Error());
    else settle(null, text);
  };
  stream
    .on('data', take)
    .on('end', end)
    .on('error', () => settle(new BadRequestException()));
}
