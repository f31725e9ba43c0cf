import type { Type } from '@nestjs/common';
import { Ajv } from 'ajv';
import { getMetadataStorage, validateSync, ValidationTypes } from 'class-validator';
import type { ValidationMetadata } from 'class-validator/types/metadata/ValidationMetadata.js';
import { InvalidRequestError, type FieldProblem } from './invalid-request.js';
import { NumberText } from './json-body.js';
import type { documentedAs } from './field-rules.js';
import type { JsonSchema } from '../schema/registry.js';

/** A DTO's class. `aliases` are other names of its fields: alias → field. */
export type DtoClass<T extends object> = Type<T> & { readonly aliases?: ReadonlyMap<string, string> };

/** What the decorators of a DTO's field say about it. */
export interface FieldContract {
  readonly name: string;
  readonly isOptional: boolean;
  /** Its schema in the OpenAPI document. */
  readonly schema: JsonSchema;
  readonly accepts: (value: unknown) => boolean;
}

const UNKNOWN_FIELD = 'is not a known field';
/**
 * More than any DTO has. The answer names each wrong field, so without a limit it could be far longer than the request.
 */
const MAX_FIELDS = 50;

/**
 * What a DTO's class says about a part of a request: its path, its query or its body. Ajv compiles a schema of its
 * fields that calls the rules of its class-validator decorators. It accepts well-formed input at a tenth of
 * class-validator's cost; class-validator then explains what is wrong with the rest. The OpenAPI document describes
 * each field by the JSON Schema beside its rule.
 */
export class Contract<T extends object> {
  private readonly aliases: ReadonlyMap<string, string>;
  /** Whether the compiled schema accepts it: exactly when {@link explain} finds nothing wrong. */
  readonly isWellFormed: (input: unknown) => boolean;

  constructor(private readonly dtoClass: DtoClass<T>) {
    this.aliases = dtoClass.aliases ?? new Map();
    this.isWellFormed = compile(fieldsOf(dtoClass), this.aliases);
  }

  /** @throws InvalidRequestError, which names the fields as the client wrote them */
  read(input: unknown): T {
    return this.isWellFormed(input) ? this.toDto(input as object) : this.explain(input);
  }

  private toDto(input: object): T {
    const dto = new this.dtoClass() as Record<string, unknown>;
    for (const name in input) {
      dto[this.aliases.get(name) ?? name] = (input as Record<string, unknown>)[name];
    }
    return dto as T;
  }

  /** The same as {@link read}, with class-validator alone. @throws InvalidRequestError */
  explain(input: unknown): T {
    if (!isJsonObject(input)) throw InvalidRequestError.of('body', 'must be a JSON object');
    const dto = new this.dtoClass();
    const members = Object.entries(input);
    const surplus = members[MAX_FIELDS];
    if (surplus) throw InvalidRequestError.of(surplus[0], `is one of more than ${MAX_FIELDS} fields`);
    const names = new Map<string, string>();
    for (const [name, value] of members) {
      // class-validator treats what every object inherits, like __proto__ and toString, as known fields.
      if (name in Object.prototype) throw InvalidRequestError.of(name, UNKNOWN_FIELD);
      const field = this.aliases.get(name) ?? name;
      const other = names.get(field);
      if (other !== undefined) {
        throw InvalidRequestError.of(name, `says the same as ${other}: give one of the two`);
      }
      names.set(field, name);
      (dto as Record<string, unknown>)[field] = value;
    }
    const problems = problemsOf(dto, names);
    if (problems.length > 0) throw new InvalidRequestError(problems);
    return dto;
  }
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
    return {
      name,
      isOptional: ofField.some(({ type }) => type === ValidationTypes.CONDITIONAL_VALIDATION),
      schema: Object.assign({}, ...ofField.map(schemaOf)) as JsonSchema,
      accepts: only && others.length === 0 ? only : (value) => checks.every((check) => check(value)),
    };
  });
}

const schemaOf = (rule: ValidationMetadata): JsonSchema | undefined =>
  (rule.context as ReturnType<typeof documentedAs>['context'] | undefined)?.schema;

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

function isJsonObject(input: unknown): input is object {
  return (
    typeof input === 'object' && input !== null && !Array.isArray(input) && !(input instanceof NumberText)
  );
}

function problemsOf(dto: object, names: ReadonlyMap<string, string>): FieldProblem[] {
  const errors = validateSync(dto, {
    whitelist: true,
    forbidNonWhitelisted: true,
    forbidUnknownValues: true,
  });
  return errors.map((error) => ({
    field: names.get(error.property) ?? error.property,
    message: explainConstraints(error.constraints ?? {}),
  }));
}

function explainConstraints(constraints: Readonly<Record<string, string>>): string {
  if ('whitelistValidation' in constraints) return UNKNOWN_FIELD;
  return Object.values(constraints)[0] ?? 'is not valid';
}
