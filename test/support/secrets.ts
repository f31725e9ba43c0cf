/** A piece of a secret of this length is a leak; shorter ones may be coincidences. */
const PIECE = 10;

/** The pieces of a secret, plain and encoded, that must not appear anywhere. */
function piecesOf(secret: string): string[] {
  const inBase64 = [0, 1, 2].map((shift) => {
    // The base64 of a secret depends on the number of bytes before it, modulo three.
    const text = Buffer.from(' '.repeat(shift) + secret).toString('base64url');
    return text.slice(shift === 0 ? 0 : 4, -2);
  });
  const forms = [secret, encodeURIComponent(secret), Buffer.from(secret).toString('hex'), ...inBase64];
  return forms.flatMap((form) =>
    Array.from({ length: form.length - PIECE + 1 }, (_, start) => form.slice(start, start + PIECE)),
  );
}

/** The names of the secrets that appear in a text, whole or in part, plain or encoded. */
export function secretsIn(text: string, secrets: Readonly<Record<string, string>>): string[] {
  const names = new Map(
    Object.entries(secrets).flatMap(([name, secret]) =>
      piecesOf(secret).map((piece) => [piece, name] as const),
    ),
  );
  const found = new Set<string>();
  for (const searched of [text, text.replaceAll('+', '-').replaceAll('/', '_')]) {
    for (let start = 0; start + PIECE <= searched.length; start++) {
      const name = names.get(searched.slice(start, start + PIECE));
      if (name !== undefined) found.add(name);
    }
  }
  return [...found];
}
