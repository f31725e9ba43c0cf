const INSTANT = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2}))?$/;

/** A point in time: an ISO 8601 date, or a date and time with its offset from UTC. */
export function isInstant(text: string): boolean {
  if (!INSTANT.test(text) || Number.isNaN(Date.parse(text))) return false;
  // Date.parse takes 2025-02-30 for the 2nd of March.
  const day = text.slice(0, 10);
  return new Date(day).toISOString().startsWith(day);
}
