import type { Type } from '@nestjs/common';
import { Ajv } from 'ajv';
import { getMetadataStorage, validateSync, ValidationTypes } from 'class-validator';
import type { ValidationMetadata } from 'class-validator/types/metadata/ValidationMetadata.js';
import { advice, adviceFor, type Advice } from './advice.js';
import { InvalidRequestError, type FieldProblem } from './invalid-request.js';
import { NumberText } from './json-body.js';
import type { JsonSchema } from '../schema/registry.js';

/** A DTO's class. `aliases` are other names of its fields: alias → field. */
export type DtoClass<T extends object> = Type<T> & { readonly aliases?: ReadonlyMap<string, string> };

/** What the decorators of a DTO's field say about it. */
export interface FieldContract {
  readonly name: string;
  /** It may be absent. */
  readonly isOptional: boolean;
  /** Its schema in the OpenAPI document. */
  readonly schema: JsonSchema;
  readonly accepts: (value: unknown) => boolean;
  /** It is a list of what this contract describes. */
  readonly items: Contract<object> | undefined;
}

/** What the rules of a field say besides their decision. */
export interface RuleContext {
  readonly schema: JsonSchema;
  readonly items?: Contract<object>;
}

/** Names that are known in other parts of the request. Asked for only when a name is unknown. */
export type Elsewhere = () => readonly Advice[];

const NOWHERE: Elsewhere = () => [];

/**
 * More than any DTO has. The answer names each wrong field, so without a limit it could be far longer than the request.
 */
const MAX_FIELDS = 50;
/** Unknown names for which a known one is sought. Who sends more means something else altogether. */
const MAX_ADVISED = 5;

/**
 * What a DTO's class says about a part of a request: its path, its query or its body. Ajv compiles a schema of its
 * fields that calls the rules of its class-validator decorators. It accepts well-formed input at a tenth of
 * class-validator's cost; class-validator then explains what is wrong with the rest. The OpenAPI document describes
 * each field by the JSON Schema beside its rule.
 */
export class Contract<T extends object> {
  /** All names of its fields. */
  readonly names: readonly string[];
  private readonly aliases: ReadonlyMap<string, string>;
  /** The contracts of its fields that are lists of objects. */
  private readonly lists: ReadonlyMap<string, Contract<object>> | undefined;
  private readonly fields: readonly FieldContract[];
  private compiled: ((input: unknown) => boolean) | undefined;

  /** @param noun what a client calls its fields */
  constructor(
    private readonly dtoClass: DtoClass<T>,
    private readonly noun: 'field' | 'query parameter' = 'field',
  ) {
    const fields = fieldsOf(dtoClass);
    this.fields = fields;
    this.aliases = dtoClass.aliases ?? new Map();
    this.names = [...fields.map(({ name }) => name), ...this.aliases.keys()];
    const lists = fields.flatMap(({ name, items }) => (items ? [[name, items] as const] : []));
    this.lists = lists.length > 0 ? new Map(lists) : undefined;
  }

  /** Whether the compiled schema accepts it: exactly when {@link explain} finds nothing wrong. */
  isWellFormed(input: unknown): boolean {
    // At its first use: to compile all of them would make each start 0.1 s longer.
    this.compiled ??= compile(this.fields, this.aliases);
    return this.compiled(input);
  }

  /** @throws InvalidRequestError, which names the fields as the client wrote them */
  read(input: unknown, elsewhere: Elsewhere = NOWHERE): T {
    return this.isWellFormed(input) ? this.toDto(input as object) : this.explain(input, elsewhere);
  }

  private toDto(input: object): T {
    const dto = new this.dtoClass() as Record<string, unknown>;
    for (const name in input) {
      const value = (input as Record<string, unknown>)[name];
      // Where null is accepted, it means the same as no field.
      if (value === null) continue;
      const field = this.aliases.get(name) ?? name;
      const items = this.lists?.get(field);
      dto[field] = items ? (value as object[]).map((item) => items.toDto(item)) : value;
    }
    return dto as T;
  }

  /** Does what {@link read} does, using only class-validator. @throws InvalidRequestError */
  explain(input: unknown, elsewhere: Elsewhere = NOWHERE): T {
    const problems = this.problems(input, elsewhere, 'body');
    if (problems.length > 0) throw new InvalidRequestError(problems);
    return this.toDto(input as object);
  }

  /** @param itself what the input is called as a whole */
  private problems(input: unknown, elsewhere: Elsewhere, itself: string): FieldProblem[] {
    if (!isJsonObject(input)) return [{ field: itself, message: 'must be a JSON object' }];
    const dto = new this.dtoClass();
    const members = Object.entries(input);
    const surplus = members[MAX_FIELDS];
    if (surplus) return [{ field: surplus[0], message: `is one of more than ${MAX_FIELDS} ${this.noun}s` }];
    const problems: FieldProblem[] = [];
    const names = new Map<string, string>();
    for (const [name, value] of members) {
      if (!this.names.includes(name)) {
        problems.push({ field: name, message: this.unknown(name, problems.length, elsewhere) });
        continue;
      }
      if (this.noun === 'query parameter' && Array.isArray(value)) {
        problems.push({ field: name, message: 'is given more than once' });
        continue;
      }
      const field = this.aliases.get(name) ?? name;
      const other = names.get(field);
      if (other !== undefined) {
        return [{ field: name, message: `says the same as ${other}: give one of the two` }];
      }
      names.set(field, name);
      (dto as Record<string, unknown>)[field] = value;
    }
    return [...problems, ...this.problemsOf(dto, names)];
  }

  private problemsOf(dto: object, names: ReadonlyMap<string, string>): FieldProblem[] {
    // A class without fields is unknown to class-validator.
    const errors = validateSync(dto, { forbidUnknownValues: false });
    return errors.flatMap(({ property, value, constraints = {} }) => {
      const field = names.get(property) ?? property;
      const ofItems = this.lists?.get(property)?.problemsOfItems(field, value) ?? [];
      if (ofItems.length > 0) return ofItems.slice(0, MAX_FIELDS);
      return [{ field, message: Object.values(constraints)[0] ?? 'is not valid' }];
    });
  }

  /** What is wrong with the items of a list, each named by its place: `legs[1].amount`. */
  private problemsOfItems(list: string, items: unknown): FieldProblem[] {
    if (!Array.isArray(items)) return [];
    return items.flatMap((item: unknown, index) =>
      this.problems(item, NOWHERE, '').map(({ field, message }) => ({
        field: `${list}[${index}]${field && `.${field}`}`,
        message,
      })),
    );
  }

  private unknown(name: string, before: number, elsewhere: Elsewhere): string {
    const problem = `is not a known ${this.noun}`;
    if (before >= MAX_ADVISED) return problem;
    const own = this.names.map((known) => advice(known, `did you mean ${known}?`));
    const hint = adviceFor(name, [...own, ...elsewhere()]);
    return hint === undefined ? problem : `${problem}; ${hint}`;
  }
}

/** For a body in which everything is optional: it may be left out. */
export function orNone<T extends object>(contract: Contract<T>): Pick<Contract<T>, 'names' | 'read'> {
  return {
    names: contract.names,
    read: (input, elsewhere) => contract.read(input === undefined ? {} : input, elsewhere),
  };
}

/** The fields of a DTO, from its decorators. */
export function fieldsOf(dtoClass: DtoClass<object>): FieldContract[] {
  const storage = getMetadataStorage();
  const rules = storage.getTargetValidationMetadatas(dtoClass, '', false, false);
  return [...Map.groupBy(rules, ({ propertyName }) => propertyName)].map(([name, ofField]) => {
    const checks = ofField.flatMap(({ constraintCls, constraints }) =>
      storage.getTargetValidatorConstraints(constraintCls).map(
        ({ instance }) =>
          (value: unknown) =>
            instance.validate(value, { constraints } as never) === true,
      ),
    );
    const [only, ...others] = checks;
    const accepts = only && others.length === 0 ? only : every(checks);
    const fieldSchema = Object.assign({}, ...ofField.map(schemaOf)) as JsonSchema;
    const isNullable = isLeftOut(ofField, null);
    return {
      name,
      isOptional: isLeftOut(ofField, undefined),
      schema: isNullable ? { oneOf: [fieldSchema, { type: 'null' }] } : fieldSchema,
      accepts: isNullable ? (value) => value === null || accepts(value) : accepts,
      items: ofField.map((rule) => contextOf(rule)?.items).find((items) => items),
    };
  });
}

const every = (checks: readonly FieldContract['accepts'][]) => (value: unknown) =>
  checks.every((check) => check(value));

/** Whether its `ValidateIf` says that a field with this value is to be treated as absent. */
const isLeftOut = (ofField: readonly ValidationMetadata[], value: unknown) =>
  ofField.some(
    ({ type, constraints }) =>
      type === ValidationTypes.CONDITIONAL_VALIDATION &&
      !(constraints as [(dto: object, value: unknown) => boolean])[0]({}, value),
  );

const contextOf = (rule: ValidationMetadata) => rule.context as RuleContext | undefined;
const schemaOf = (rule: ValidationMetadata): JsonSchema | undefined => contextOf(rule)?.schema;

/**
 * The schema of an object with the fields of a DTO.
 *
 * @param names other names for fields
 */
export function objectSchema(
  dtoClass: DtoClass<object>,
  names: ReadonlyMap<string, string> = new Map(),
): JsonSchema {
  const fields = fieldsOf(dtoClass).map((field) => ({ ...field, name: names.get(field.name) ?? field.name }));
  const required = fields.filter(({ isOptional }) => !isOptional).map(({ name }) => name);
  return {
    type: 'object',
    properties: Object.fromEntries(fields.map((field) => [field.name, field.schema])),
    ...(required.length > 0 && { required }),
    additionalProperties: false,
  };
}

/** The names under which a field may be given. */
const namesOf = (field: string, aliases: ReadonlyMap<string, string>) => [
  field,
  ...[...aliases].filter(([, of]) => of === field).map(([alias]) => alias),
];

const ajv = new Ajv().addKeyword({
  keyword: 'accepted',
  compile: (accepts: FieldContract['accepts']) => accepts,
});

/** The JSON Schema of a parsed request, whose numbers are texts: a field is whatever its own rules accept. */
function compile(fields: readonly FieldContract[], aliases: ReadonlyMap<string, string>) {
  const named = fields.map((field) => ({ ...field, names: namesOf(field.name, aliases) }));
  const counts = named.flatMap(({ names, isOptional }): object[] => {
    if (!isOptional) return [{ oneOf: names.map((name) => ({ required: [name] })) }];
    return pairsOf(names).map((pair) => ({ not: { required: pair } }));
  });
  return ajv.compile({
    type: 'object',
    properties: Object.fromEntries(
      named.flatMap(({ names, accepts }) => names.map((name) => [name, { accepted: accepts }])),
    ),
    additionalProperties: false,
    ...(counts.length > 0 && { allOf: counts }),
  });
}

const pairsOf = (names: readonly string[]) =>
  names.flatMap((name, index) => names.slice(index + 1).map((other) => [name, other]));

export function isJsonObject(input: unknown): input is object {
  return (
    typeof input === 'object' && input !== null && !Array.isArray(input) && !(input instanceof NumberText)
  );
}
