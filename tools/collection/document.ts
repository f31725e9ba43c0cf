/** The part of an OpenAPI document of which a collection is made. */
export interface Document {
  readonly info: { readonly title: string };
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

export interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly description?: string;
  readonly tags: readonly [string];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Content };
  readonly responses: Readonly<Record<string, { readonly content?: Content }>>;
}

export interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required?: boolean;
  readonly schema: { readonly example?: string | number };
}

type Content = Readonly<Record<string, MediaType>>;

interface MediaType {
  readonly example?: unknown;
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>;
}

const JSON_TYPE = 'application/json';

/** An example of a request's body. @param name of the example; undefined: the first */
export function bodyOf({ requestBody }: Operation, name?: string): unknown {
  return exampleOf(requestBody?.content[JSON_TYPE], name);
}

/** The status of success, when the request is not a rehearsal. */
export function successOf({ responses }: Operation): string {
  const successes = Object.keys(responses).filter((status) => status.startsWith('2'));
  return successes.includes('201') ? '201' : (successes[0] ?? '');
}

/** An example of the answer to a success. */
export function answerOf(operation: Operation): unknown {
  return exampleOf(operation.responses[successOf(operation)]?.content?.[JSON_TYPE]);
}

/** Whether it answers with events and goes on for ever, which a run through all requests can't. */
export function isStream(operation: Operation): boolean {
  const { content = {} } = operation.responses[successOf(operation)] ?? {};
  return Object.keys(content).join() === 'text/event-stream';
}

function exampleOf(media: MediaType | undefined, name?: string): unknown {
  const { example, examples = {} } = media ?? {};
  const [first] = Object.keys(examples);
  return example ?? examples[name ?? first ?? '']?.value;
}
