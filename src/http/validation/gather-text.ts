import type { Readable } from 'node:stream';
import { BadRequestException, PayloadTooLargeException } from '@nestjs/common';
import { GatheredBytes } from './gathered-bytes.js';

/**
 * Reads a stream to its end.
 *
 * @param done called once: with the text, or a PayloadTooLargeException when it is over the limit, or a
 *   BadRequestException when the rest will not come
 */
export function gatherText(
  stream: Readable,
  limitBytes: number,
  done: (error: Error | null, text?: string) => void,
): void {
  const gathered = new GatheredBytes();
  // A small body comes in one piece, which needs no copy.
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
  const end = () => settle(null, (only ?? gathered.bytes).toString());
  const settle = (error: Error | null, text?: string) => {
    stream.off('data', take).off('end', end).off('error', cut);
    done(error, text);
  };
  const cut = () => settle(new BadRequestException());
  stream.on('data', take).on('end', end).on('error', cut);
}
