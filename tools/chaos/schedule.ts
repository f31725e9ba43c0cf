import type { Fault } from './faults.js';
import type { Random } from './random.js';

/** When a fault strikes and for how long, in milliseconds since the workload began. */
export interface Appointment {
  readonly atMs: number;
  readonly forMs: number;
  readonly fault: Fault;
}

const FIRST_MS = 1_500;
/** A time without faults at the end, so that the last recovery happens under load. */
const LAST_MS = 3_500;
const SHORTEST_MS = 300;
const LONGEST_MS = 2_500;
const PAUSE_MS = [1_500, 4_000] as const;
const TWO_AT_ONCE = 0.25;
const TOGETHER_MS = 400;

/** Draws the faults of a run: one every few seconds, sometimes two at once, never two on one target. */
export function drawSchedule(faults: readonly Fault[], durationMs: number, random: Random): Appointment[] {
  const schedule: Appointment[] = [];
  const busyUntil = new Map<string, number>();
  const draw = (atMs: number) => {
    const free = faults.filter(({ target }) => (busyUntil.get(target) ?? 0) <= atMs);
    if (free.length === 0) return;
    const fault = random.weighted(free);
    const longestMs = fault.longestMs ?? LONGEST_MS;
    const forMs = random.integer(fault.shortestMs ?? Math.min(SHORTEST_MS, longestMs), longestMs);
    busyUntil.set(fault.target, atMs + forMs + (fault.healingMs ?? 500));
    schedule.push({ atMs, forMs, fault });
  };
  for (let atMs = FIRST_MS; atMs < durationMs - LAST_MS; atMs += random.integer(...PAUSE_MS)) {
    draw(atMs);
    if (random.chance(TWO_AT_ONCE)) draw(atMs + random.integer(0, TOGETHER_MS));
  }
  return schedule.sort((a, b) => a.atMs - b.atMs);
}
