import { Ajv2020 } from 'ajv/dist/2020.js';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** What a client got. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

interface Reference {
  readonly $ref?: string;
}
interface MediaType {
  readonly schema: object;
  readonly example?: unknown;
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>;
}
interface Header extends Reference {
  readonly required?: boolean;
}
interface Response extends Reference {
  readonly headers?: Readonly<Record<string, Header>>;
  readonly content?: Readonly<Record<string, MediaType>>;
}
export interface Operation {
  readonly operationId: string;
  readonly requestBody?: { readonly content: Readonly<Record<string, MediaType>> };
  readonly responses: Readonly<Record<string, Response>>;
}
interface Document {
  readonly info: { readonly version: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

const DATE_TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z$/;

/** The committed openapi.json, and a judge of whether the service keeps to it. */
export class OpenApiContract {
  readonly document = read() as Document;
  readonly operations: ReadonlyMap<string, Operation>;

  private readonly ajv = new Ajv2020({
    strict: false,
    validateSchema: false,
    formats: { int64: true, 'date-time': DATE_TIME },
  });

  constructor() {
    const operations = Object.values(this.document.paths).flatMap((path) => Object.values(path));
    this.operations = new Map(operations.map((operation) => [operation.operationId, operation]));
    this.ajv.addSchema(read(closeObject) as object, 'openapi');
  }

  /** What is wrong with a body by the documented schema; empty: nothing. */
  requestProblems(operationId: string, body: unknown): string[] {
    const schema = this.operation(operationId).requestBody?.content['application/json']?.schema;
    return schema ? this.problems(schema, body) : ['no body is documented'];
  }

  /** What the document does not say of an answer; empty: nothing. */
  answerProblems(operationId: string, { status, headers, text }: Answer): string[] {
    const response = this.response(operationId, status);
    if (!response) return [`status ${status} is not documented`];
    const missing = Object.entries(response.headers ?? {})
      .filter(([name, header]) => this.follow(header).required !== false && !(name.toLowerCase() in headers))
      .map(([name]) => `the header ${name} is missing`);
    const [type, content] = Object.entries(response.content ?? {})[0] ?? [];
    if (!content) return text === '' ? missing : [...missing, 'a body that is not documented'];
    if (!headers['content-type']?.startsWith(`${type};`)) return [...missing, `not of type ${type}`];
    const body: unknown = type === 'application/json' ? JSON.parse(text) : text;
    return [...missing, ...this.problems(content.schema, body)];
  }

  /** The documented bodies of a status. */
  examples(operationId: string, status: number): unknown[] {
    return Object.values(this.response(operationId, status)?.content ?? {}).flatMap((content) =>
      content.examples ? Object.values(content.examples).map(({ value }) => value) : [content.example],
    );
  }

  private operation(operationId: string): Operation {
    const operation = this.operations.get(operationId);
    if (!operation) throw new Error(`${operationId} is not documented`);
    return operation;
  }

  private response(operationId: string, status: number): Response | undefined {
    const response = this.operation(operationId).responses[status];
    return response && this.follow(response);
  }

  /** What a reference leads to; anything else is itself. */
  private follow<T extends Reference>(definition: T): T {
    if (definition.$ref === undefined) return definition;
    return definition.$ref
      .split('/')
      .slice(1)
      .reduce<unknown>((node, key) => (node as Record<string, unknown>)[key], this.document) as T;
  }

  private problems(schema: object, value: unknown): string[] {
    const absolute = JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"openapi#/')) as object;
    const validate = this.ajv.compile(absolute);
    if (validate(value)) return [];
    return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
  }
}

function read(reviver?: (key: string, value: unknown) => unknown): unknown {
  return JSON.parse(readFileSync(join(process.cwd(), 'openapi.json'), 'utf8'), reviver);
}

/** Clients must bear new fields, so the document allows them; the service must not send any that are not documented. */
function closeObject(_key: string, value: unknown): unknown {
  const isObjectSchema =
    typeof value === 'object' && value !== null && 'type' in value && value.type === 'object';
  if (!isObjectSchema || 'additionalProperties' in value) return value;
  return { ...value, additionalProperties: false };
}
