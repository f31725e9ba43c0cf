/** Escapes control characters: what the database holds may come from a hostile backup, and must not control a terminal. */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
