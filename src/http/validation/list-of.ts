import { ValidateBy } from 'class-validator';
import { schema, type JsonSchema } from '../schema/registry.js';
import { Contract, objectSchema, type DtoClass, type RuleContext } from './contract.js';

/**
 * A list of objects, whose problems are named by their place: `legs[1].amount`.
 *
 * @param component the name of an item's schema in the OpenAPI document
 */
export function IsListOf(
  itemClass: DtoClass<object>,
  component: string,
  { minItems, maxItems }: { readonly minItems: number; readonly maxItems: number },
  as: JsonSchema = {},
): PropertyDecorator {
  const items = new Contract(itemClass);
  const holds = (value: unknown) =>
    Array.isArray(value) &&
    value.length >= minItems &&
    value.length <= maxItems &&
    value.every((item) => items.isWellFormed(item));
  const context: RuleContext = {
    schema: { type: 'array', items: schema(component, objectSchema(itemClass)), minItems, maxItems, ...as },
    items,
  };
  return ValidateBy(
    { name: 'isListOf', validator: { validate: holds } },
    { message: `must be a list of ${minItems} to ${maxItems} objects`, context },
  );
}
