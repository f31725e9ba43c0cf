import { totalmem } from 'node:os';

const MEBIBYTE = 2 ** 20;
const LEAST = 128;
const MOST = 8_192;

/**
 * The embedded server's shared_buffers: an eighth of what the machine, or the container, has. Where the pages that are
 * written to don't fit, whoever posts must write another one out first, and the log before it. Taken as it is used.
 */
export function sharedBuffers(memoryBytes = availableMemory()): string {
  return `${Math.min(MOST, Math.max(LEAST, Math.floor(memoryBytes / 8 / MEBIBYTE)))}MB`;
}

/** A limit that is none is told as 0, or as more than there is. */
function availableMemory(): number {
  return Math.min(process.constrainedMemory() || Infinity, totalmem());
}
