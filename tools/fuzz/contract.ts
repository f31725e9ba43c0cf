import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { isLosslessNumber, parse } from 'lossless-json';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** An answer as the client receives it. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

interface AnswerOptions {
  /** True: it answers a HEAD. */
  readonly isHead?: boolean;
}

interface Reference {
  readonly $ref?: string;
}
/** The part of JSON Schema that the document uses. */
export interface Schema extends Reference {
  readonly title?: string;
  readonly type?: string | readonly string[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly oneOf?: readonly Schema[];
  readonly anyOf?: readonly Schema[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly minProperties?: number;
  readonly items?: Schema;
  readonly minItems?: number;
}
export interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required?: boolean;
  readonly schema: Schema;
}
interface MediaType {
  readonly schema: Schema;
  readonly example?: unknown;
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>;
}
interface Header extends Reference {
  readonly required?: boolean;
  readonly schema?: Schema;
}
interface Response extends Reference {
  readonly headers?: Readonly<Record<string, Header>>;
  readonly content?: Readonly<Record<string, MediaType>>;
}
export interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Readonly<Record<string, MediaType>> };
  readonly responses: Readonly<Record<string, Response>>;
  /** One of them must be satisfied. */
  readonly security?: readonly Readonly<Record<string, readonly string[]>>[];
}
interface Document {
  readonly info: { readonly version: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  /** By status: answers that any request may get, so that no operation lists them. */
  readonly 'x-general-responses': Readonly<Record<string, Response>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

export interface Route {
  /** In upper case. */
  readonly method: string;
  /** With its parameters in braces. */
  readonly path: string;
  readonly operation: Operation;
  /** Its answer has no end. */
  readonly isStream: boolean;
}

const EXACT_MONEY = /^(?!-0\.00$)-?\d{1,16}\.\d{2}$/;

const MONEY = ['Money', 'SignedMoney'].map((name) => `#/components/schemas/${name}`);
/** The media type as the document names it: with the form of money, but without what says how to read it. */
const CONTENT_TYPE = /^(.+?)(?:; version=[\d.]+)?(?:; charset=utf-8)?$/;
const JSON_TYPE = /^application\/(?:problem\+)?json\b/;
const DATE_TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z$/;

/** The committed openapi.json, and checks that the service conforms to it. */
export class OpenApiContract {
  readonly document = read() as Document;
  readonly routes: readonly Route[];
  readonly operations: ReadonlyMap<string, Operation>;

  /** By error code: the statuses with which the document lists it. */
  readonly statusesOfCode: ReadonlyMap<string, ReadonlySet<string>>;
  private readonly validators = new Map<string, ValidateFunction>();
  /** The fields that hold money. */
  private readonly moneyFields: ReadonlySet<string>;
  private readonly ajv = new Ajv2020({
    strict: false,
    validateSchema: false,
    formats: { date: true, int64: true, 'date-time': DATE_TIME },
  });

  constructor() {
    this.routes = Object.entries(this.document.paths).flatMap(([path, operations]) =>
      Object.entries(operations).map(([method, operation]) => ({
        method: method.toUpperCase(),
        path,
        operation,
        isStream: 'text/event-stream' in (this.follow(operation.responses[200] ?? {}).content ?? {}),
      })),
    );
    this.operations = new Map(this.routes.map(({ operation }) => [operation.operationId, operation]));
    this.statusesOfCode = this.listedCodes();
    this.moneyFields = new Set(
      Object.values(this.document.components.schemas)
        .flatMap(({ properties = {} }) => Object.entries(properties))
        .flatMap(([name, { $ref }]) => (MONEY.includes($ref ?? '') ? [name] : [])),
    );
    this.ajv.addSchema(read(closeObject) as object, 'openapi');
  }

  private listedCodes(): Map<string, Set<string>> {
    const listed = new Map<string, Set<string>>();
    const all = [...this.operations.values()].map(({ responses }) => responses);
    for (const responses of [...all, this.document['x-general-responses']]) {
      for (const [status, response] of Object.entries(responses)) {
        for (const code of this.follow(response).headers?.['X-Error-Code']?.schema?.enum ?? []) {
          const statuses = listed.get(String(code)) ?? new Set();
          listed.set(String(code), statuses.add(status));
        }
      }
    }
    return listed;
  }

  /** How a body violates the documented schema; empty: not at all. */
  requestProblems(operationId: string, body: unknown): string[] {
    const schema = this.operation(operationId).requestBody?.content['application/json']?.schema;
    return schema ? this.problems(schema, body) : ['no body is documented'];
  }

  /** How an answer differs from the document; empty: not at all. */
  answerProblems(operationId: string, answer: Answer, options: AnswerOptions = {}): string[] {
    const response = this.response(operationId, answer.status);
    return response
      ? this.responseProblems(response, answer, options)
      : [`status ${answer.status} is not documented`];
  }

  /** The same for the answer to a request that is not for any operation. */
  generalAnswerProblems(answer: Answer, options: AnswerOptions = {}): string[] {
    const response = this.document['x-general-responses'][answer.status];
    return response
      ? this.responseProblems(this.follow(response), answer, options)
      : [`status ${answer.status} is not documented for what is no operation`];
  }

  private responseProblems(
    response: Response,
    { headers, text }: Answer,
    { isHead }: AnswerOptions,
  ): string[] {
    const problems = this.headerProblems(response, headers);
    if (!response.content) return text === '' ? problems : [...problems, 'a body that is not documented'];
    // RFC 9110, 9.3.2: the answer to HEAD has no body, but the header fields that a body would need.
    if (isHead && text !== '') return [...problems, 'a body in answer to HEAD'];
    const type = CONTENT_TYPE.exec(headers['content-type'] ?? '')?.[1] ?? '';
    const content = response.content[type];
    if (!content) return [...problems, `not of type ${Object.keys(response.content).join(' or ')}`];
    if (isHead) return problems;
    if (!JSON_TYPE.test(type)) return [...problems, ...this.problems(content.schema, text)];
    let body: unknown;
    try {
      body = JSON.parse(text);
    } catch {
      return [...problems, 'no JSON'];
    }
    return [
      ...problems,
      ...this.problems(content.schema, body),
      ...this.moneyProblems(text),
      ...errorProblems(Object.values(response.content), body),
    ];
  }

  /** A header is missing, or has a value that is not among those that the document lists. */
  private headerProblems({ headers: documented = {} }: Response, headers: Answer['headers']): string[] {
    return Object.entries(documented).flatMap(([name, reference]) => {
      const { required, schema } = this.follow(reference);
      const value = headers[name.toLowerCase()];
      if (value === undefined) return required === false ? [] : [`the header ${name} is missing`];
      const listed = schema?.enum ?? [value];
      return listed.includes(value) ? [] : [`the header ${name} is ${value}, which is not documented here`];
    });
  }

  /** Money in a JSON text without exactly two decimals, which JSON.parse would not show. */
  private moneyProblems(text: string): string[] {
    const problems: string[] = [];
    parse(text, (name, value) => {
      if (this.moneyFields.has(name) && isLosslessNumber(value) && !EXACT_MONEY.test(value.value))
        problems.push(`${name} is ${value.value}, which is no amount with two decimals`);
      return value;
    });
    return problems;
  }

  /** The example bodies of a status. */
  examples(operationId: string, status: number): unknown[] {
    return Object.values(this.response(operationId, status)?.content ?? {}).flatMap(examplesOf);
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

  /** The target of a reference; a definition that is not a reference is returned unchanged. */
  follow<T extends Reference>(definition: T): T {
    if (definition.$ref === undefined) return definition;
    return definition.$ref
      .split('/')
      .slice(1)
      .reduce<unknown>((node, key) => (node as Record<string, unknown>)[key], this.document) as T;
  }

  private problems(schema: object, value: unknown): string[] {
    const absolute = JSON.stringify(schema).replaceAll('"#/', '"openapi#/');
    let validate = this.validators.get(absolute);
    if (!validate) {
      validate = this.ajv.compile(JSON.parse(absolute) as object);
      this.validators.set(absolute, validate);
    }
    if (validate(value)) return [];
    return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
  }
}

function examplesOf({ examples, example }: MediaType): unknown[] {
  if (examples) return Object.values(examples).map(({ value }) => value);
  return example === undefined ? [] : [example];
}

/** The error texts are stable, so each one must be among the examples. */
function errorProblems(contents: readonly MediaType[], body: unknown): string[] {
  const errorOf = (value: unknown) => (value as { readonly error?: unknown } | undefined)?.error;
  const documented = contents.flatMap(examplesOf).map(errorOf);
  const error = errorOf(body);
  if (typeof error !== 'string' || documented.includes(error)) return [];
  return [`the error "${error}" is not documented`];
}

function read(reviver?: (key: string, value: unknown) => unknown): unknown {
  return JSON.parse(readFileSync(join(process.cwd(), 'openapi.json'), 'utf8'), reviver);
}

/** The document allows unknown fields, because clients must tolerate new ones; the service must not send any. */
function closeObject(_key: string, value: unknown): unknown {
  const isObjectSchema =
    typeof value === 'object' && value !== null && 'type' in value && value.type === 'object';
  if (!isObjectSchema || 'additionalProperties' in value) return value;
  return { ...value, additionalProperties: false };
}
