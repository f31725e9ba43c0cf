/** An element of an XML document. */
export class XmlElement {
  readonly children: XmlElement[] = [];
  readonly attributes: Readonly<Record<string, string>>;
  content = '';

  constructor(
    readonly name: string,
    attributes: string,
  ) {
    this.attributes = Object.fromEntries(
      [...attributes.matchAll(/([\w:]+)="([^"]*)"/g)].map(([, key = '', value = '']) => [
        key,
        unescaped(value),
      ]),
    );
  }

  /** All elements of this name within it, in the order of the document. */
  all(name: string): XmlElement[] {
    return this.children.flatMap((child) => [...(child.name === name ? [child] : []), ...child.all(name)]);
  }

  /** The text of the first one. */
  text(name: string): string | undefined {
    return this.all(name)[0]?.content;
  }
}

const TOKEN = /<(\/?)([A-Za-z][\w.:-]*)((?:\s+[\w:]+="[^"<]*")*)\s*>|([^<]+)/y;

/**
 * Reads a document without comments, CDATA sections and processing instructions.
 *
 * @throws Error when it is not well-formed
 */
export function readXml(text: string): XmlElement {
  const declaration = '<?xml version="1.0" encoding="UTF-8"?>\n';
  if (!text.startsWith(declaration)) throw new Error('no XML declaration');
  if (/[^\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]/u.test(text)) {
    throw new Error('a character that XML 1.0 can not have');
  }
  const root = new XmlElement('', '');
  const open = [root];
  TOKEN.lastIndex = declaration.length;
  for (let token; TOKEN.lastIndex < text.length;) {
    const at = TOKEN.lastIndex;
    token = TOKEN.exec(text);
    if (!token) throw new Error(`not XML at ${at}: ${text.slice(at, at + 40)}`);
    const [, slash, name = '', attributes = '', content] = token;
    const innermost = open.at(-1) as XmlElement;
    if (content !== undefined) innermost.content += unescaped(content);
    else if (slash === '') {
      const element = new XmlElement(name, attributes);
      innermost.children.push(element);
      open.push(element);
    } else if (open.pop()?.name !== name) throw new Error(`</${name}> at ${at} closes another element`);
  }
  if (open.length !== 1 || root.children.length !== 1) throw new Error('not one element with all its ends');
  return root;
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', '#13': '\r' };

function unescaped(text: string): string {
  return text.replace(/&([^;\s]*;?)/g, (_, reference: string) => {
    const character = ENTITIES[reference.replace(/;$/, '')];
    if (character === undefined || !reference.endsWith(';')) throw new Error(`&${reference} is no entity`);
    return character;
  });
}
