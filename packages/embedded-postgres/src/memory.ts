import { totalmem } from 'node:os';

const MEBIBYTE = 2 ** 20;
const LEAST = 128;
const MOST = 8_192;

/**
 * A value for shared_buffers: an eighth of the memory of the machine or container. If the pages being written don't
 * fit, every writer must first write another page out, and the log before it. Memory is allocated only as it is used.
 */
export function sharedBuffers(memoryBytes = availableMemory()): string {
  return `${Math.min(MOST, Math.max(LEAST, Math.floor(memoryBytes / 8 / MEBIBYTE)))}MB`;
}

/** Without a limit, `constrainedMemory` is 0 or more than the machine has. */
function availableMemory(): number {
  return Math.min(process.constrainedMemory() || Infinity, totalmem());
}
