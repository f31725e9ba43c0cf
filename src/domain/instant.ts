export const INSTANT_PATTERN =
  '^\\d{4}-\\d{2}-\\d{2}(T\\d{2}:\\d{2}(:\\d{2}(\\.\\d{1,9})?)?(Z|[+-]\\d{2}:\\d{2}))?$';
const INSTANT = new RegExp(INSTANT_PATTERN);

/** The first and the last millisecond that a text of this form can name, whatever its offset. */
export const FIRST_INSTANT_MS = Date.parse('0000-01-01T00:00:00+23:59');
export const LAST_INSTANT_MS = Date.parse('9999-12-31T23:59:59.999-23:59') + 1;

/** A point in time: an ISO 8601 date, or a date and time with its offset from UTC. */
export function isInstant(text: string): boolean {
  if (!INSTANT.test(text) || Number.isNaN(Date.parse(text))) return false;
  // Date.parse reads 2025-02-30 as the 2nd of March.
  const day = text.slice(0, 10);
  return new Date(day).toISOString().startsWith(day);
}

/**
 * The first whole millisecond at or after an instant. Transactions have times in whole milliseconds, so comparing them
 * with this one is the same as comparing them with the instant.
 */
export function millisecondFrom(text: string): Date {
  const fraction = INSTANT.exec(text)?.[3] ?? '';
  return new Date(millisecondOf(text) + (/[1-9]/.test(fraction.slice(4)) ? 1 : 0));
}

/** The last whole millisecond at or before an instant, since 1970. */
export function millisecondOf(text: string): number {
  const fraction = INSTANT.exec(text)?.[3]?.slice(1) ?? '';
  // Without the fraction: engines differ in how Date.parse treats extra digits.
  return Date.parse(text.replace(/\.\d+/, '')) + Number(fraction.slice(0, 3).padEnd(3, '0'));
}
