/** How many lines of one kind are written in one second. */
export const LINES_PER_SECOND = 10;

/** The most kinds that are told apart in one second. More would mean that log texts contain values, not fields. */
const MAX_KINDS = 1_000;
const SECOND_MS = 1_000;

interface Kind {
  written: number;
  leftOut: number;
}

/**
 * Keeps a log readable and cheap when everything fails at once: of lines that say the same, only the first few of each
 * second are written, and then how many were left out.
 */
export class LineLimit {
  private readonly kinds = new Map<string, Kind>();

  /** @param report called at the end of a second in which lines of a kind were left out */
  constructor(private readonly report: (kind: string, leftOut: number) => void) {}

  /** Whether a line of this kind is to be written. */
  admits(kind: string): boolean {
    const known = this.kinds.get(kind) ?? this.begin(kind);
    if (!known) return false;
    if (known.written < LINES_PER_SECOND) {
      known.written += 1;
      return true;
    }
    known.leftOut += 1;
    return false;
  }

  private begin(name: string): Kind | undefined {
    if (this.kinds.size >= MAX_KINDS) return undefined;
    const kind = { written: 0, leftOut: 0 };
    this.kinds.set(name, kind);
    setTimeout(() => {
      this.kinds.delete(name);
      if (kind.leftOut > 0) this.report(name, kind.leftOut);
    }, SECOND_MS).unref();
    return kind;
  }
}
