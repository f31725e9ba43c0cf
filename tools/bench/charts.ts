/** One line of a chart. */
export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
}

export interface Point {
  readonly x: number;
  readonly y: number;
  /** The label on the horizontal axis at this place. */
  readonly label: string;
}

export interface Bar {
  readonly name: string;
  readonly value: number;
  /** What it must reach, and what it should reach at best. */
  readonly marks: readonly number[];
}

const WIDTH = 720;
const HEIGHT = 380;
const LEFT = 80;
const RIGHT = 20;
const TOP = 70;
const BOTTOM = 60;
const COLOURS = ['#1565c0', '#ef6c00', '#2e7d32', '#6a1b9a'];
const BAR_HEIGHT = 26;
const BARS_WIDTH = 960;
const NAMES_WIDTH = 540;

/** Lines over a logarithmic horizontal axis, starting at zero vertically. */
export function lineChart(title: string, axes: { x: string; y: string }, series: readonly Series[]): string {
  const points = series.flatMap((each) => each.points);
  const [low, high] = [Math.min(...points.map(({ x }) => x)), Math.max(...points.map(({ x }) => x))];
  const top = niceCeiling(Math.max(...points.map(({ y }) => y)));
  const x = (value: number) =>
    LEFT + ((WIDTH - LEFT - RIGHT) * Math.log(value / low)) / Math.max(1e-9, Math.log(high / low));
  const y = (value: number) => HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value / top);
  const labels = new Map(points.map((point) => [point.x, point.label]));
  return svg(WIDTH, HEIGHT, title, [
    ...[0, 0.25, 0.5, 0.75, 1].flatMap((part) => [
      rule(LEFT, y(part * top), WIDTH - RIGHT, y(part * top)),
      text(LEFT - 8, y(part * top) + 4, (part * top).toLocaleString('en'), 'end'),
    ]),
    ...[...labels].map(([place, label]) => text(x(place), HEIGHT - BOTTOM + 18, label, 'middle')),
    text((WIDTH + LEFT) / 2, HEIGHT - 12, axes.x, 'middle'),
    text(LEFT - 8, TOP - 14, axes.y, 'end'),
    ...series.flatMap((each, index) => drawSeries(each, index, x, y)),
  ]);
}

function drawSeries(
  { name, points }: Series,
  index: number,
  x: (value: number) => number,
  y: (value: number) => number,
): string[] {
  const colour = COLOURS[index % COLOURS.length];
  const places = points.map((point) => `${round(x(point.x))},${round(y(point.y))}`);
  return [
    `<text x="${LEFT + index * 230}" y="46" fill="${colour}">● ${escape(name)}</text>`,
    `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${places.join(' ')}"/>`,
    ...points.map(
      (point) =>
        `<circle cx="${round(x(point.x))}" cy="${round(y(point.y))}" r="3.5" fill="${colour}">` +
        `<title>${escape(`${point.label}: ${round(point.y)}`)}</title></circle>`,
    ),
  ];
}

/** Horizontal bars on a logarithmic axis, with a mark at each target. */
export function barChart(title: string, bars: readonly Bar[]): string {
  const values = bars.flatMap(({ value, marks }) => [value, ...marks]);
  const [low, high] = [Math.min(...values) / 1.5, Math.max(...values) * 1.2];
  const x = (value: number) =>
    NAMES_WIDTH + ((BARS_WIDTH - NAMES_WIDTH - 70) * Math.log(value / low)) / Math.log(high / low);
  const height = TOP + bars.length * BAR_HEIGHT + 20;
  return svg(BARS_WIDTH, height, title, [
    text(NAMES_WIDTH, 46, 'bars: measured; lines: at least, and the aim; logarithmic', 'start'),
    ...bars.flatMap(({ name, value, marks }, index) => {
      const top = TOP + index * BAR_HEIGHT - 8;
      return [
        text(NAMES_WIDTH - 8, top + 13, name, 'end'),
        `<rect x="${NAMES_WIDTH}" y="${top}" width="${round(x(value) - NAMES_WIDTH)}" height="${BAR_HEIGHT - 8}" fill="${COLOURS[0]}"/>`,
        ...marks.map((mark) => rule(x(mark), top - 3, x(mark), top + BAR_HEIGHT - 5, '#c62828')),
        text(BARS_WIDTH - 8, top + 13, value.toPrecision(3), 'end'),
      ];
    }),
  ]);
}

function svg(width: number, height: number, title: string, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="12">`,
    '<rect width="100%" height="100%" fill="white"/>',
    `<text x="${LEFT}" y="24" font-size="15">${escape(title)}</text>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}

/** The next number that is 1, 2, 4, 6 or 8 times a power of ten. */
function niceCeiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 4, 6, 8].find((step) => step * power >= value) ?? 10) * power;
}

function rule(x1: number, y1: number, x2: number, y2: number, colour = '#e0e0e0'): string {
  return `<line x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}" stroke="${colour}"/>`;
}

function text(x: number, y: number, content: string, anchor: 'start' | 'middle' | 'end'): string {
  return `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}">${escape(content)}</text>`;
}

function escape(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
