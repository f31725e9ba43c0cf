import { BUCKET_MS, type StruckFault, type Timeline } from './timeline.js';

const WIDTH = 1_200;
const LEFT = 190;
const PLOT_TOP = 50;
const PLOT_HEIGHT = 240;
const LANE_HEIGHT = 16;
const LANES_TOP = PLOT_TOP + PLOT_HEIGHT + 40;
const SERIES = [
  ['accepted', '#2e7d32'],
  ['refused', '#f9a825'],
  ['failed', '#c62828'],
] as const;
const TICK_SECONDS = [1, 2, 5, 10, 30, 60, 120, 300, 600];
const MOST_TICKS = 15;

/** Draws a run as an SVG: postings per second, and below them a lane for each kind of fault. */
export function drawPicture(timeline: Timeline, title: string): string {
  const { endMs, faults } = timeline;
  const x = (ms: number) => round(LEFT + ((WIDTH - LEFT - 20) * ms) / Math.max(1, endMs));
  const highest = Math.max(1, ...SERIES.flatMap(([name]) => timeline[name])) * (1_000 / BUCKET_MS);
  const y = (rate: number) => round(PLOT_TOP + PLOT_HEIGHT * (1 - rate / highest));
  const names = [...new Set(faults.map(({ name }) => name))].sort();
  const height = LANES_TOP + names.length * LANE_HEIGHT + 20;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="100%" height="100%" fill="white"/>`,
    `<text x="${LEFT}" y="20" font-size="14">${escape(title)}</text>`,
    ...SERIES.map(
      ([name, colour], index) =>
        `<text x="${LEFT + index * 130}" y="38" fill="${colour}">■ ${name} per second</text>`,
    ),
    ...[0, 0.5, 1].map((part) =>
      text(LEFT - 6, y(part * highest) + 4, String(Math.round(part * highest)), 'end'),
    ),
    ...ticks(endMs).map((seconds) => axisTick(x(seconds * 1_000), height, seconds)),
    ...faults.map((fault) => faultBar(fault, x, names.indexOf(fault.name))),
    ...names.map((name, lane) => text(LEFT - 6, LANES_TOP + lane * LANE_HEIGHT + 11, name, 'end')),
    ...SERIES.map(([name, colour]) => line(timeline[name], colour, x, y)),
    '</svg>',
    '',
  ].join('\n');
}

function line(
  counts: readonly number[],
  colour: string,
  x: (ms: number) => number,
  y: (rate: number) => number,
): string {
  const points = counts.map(
    (count, index) => `${x((index + 0.5) * BUCKET_MS)},${y((count * 1_000) / BUCKET_MS)}`,
  );
  return `<polyline fill="none" stroke="${colour}" stroke-width="1.2" points="${points.join(' ')}"/>`;
}

function faultBar(
  { target, beganMs, healedMs }: StruckFault,
  x: (ms: number) => number,
  lane: number,
): string {
  const width = Math.max(2, x(healedMs) - x(beganMs));
  const top = LANES_TOP + lane * LANE_HEIGHT;
  return (
    `<rect x="${x(beganMs)}" y="${PLOT_TOP}" width="${width}" height="${PLOT_HEIGHT}" fill="#90a4ae" opacity="0.18"/>` +
    `<rect x="${x(beganMs)}" y="${top}" width="${width}" height="${LANE_HEIGHT - 3}" fill="#546e7a">` +
    `<title>${escape(`${target}, ${beganMs} to ${healedMs} ms`)}</title></rect>`
  );
}

function axisTick(x: number, height: number, seconds: number): string {
  return (
    `<line x1="${x}" x2="${x}" y1="${PLOT_TOP}" y2="${height - 20}" stroke="#eceff1"/>` +
    text(x, PLOT_TOP + PLOT_HEIGHT + 16, `${seconds} s`, 'middle')
  );
}

function ticks(endMs: number): number[] {
  const step = TICK_SECONDS.find((seconds) => endMs / 1_000 / seconds <= MOST_TICKS) ?? 3_600;
  return Array.from({ length: Math.floor(endMs / 1_000 / step) + 1 }, (_, index) => index * step);
}

function text(x: number, y: number, content: string, anchor: string): string {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}">${escape(content)}</text>`;
}

function escape(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
