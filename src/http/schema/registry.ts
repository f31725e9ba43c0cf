/** JSON Schema 2020-12, which OpenAPI 3.1 uses. Nest's own type describes the older dialect of 3.0. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** Refers to a component of the OpenAPI document. */
export type Reference = { readonly $ref: string };

const components = { schemas: {}, responses: {}, headers: {} };

/**
 * Adds a component to the OpenAPI document and returns a reference to it. Each feature defines its schemas next to its
 * classes, and no reference can point to something that does not exist.
 */
export function component(kind: keyof typeof components, name: string, definition: object): Reference {
  const existing: Record<string, object> = components[kind];
  if (name in existing) throw new Error(`components.${kind}.${name} is defined twice`);
  existing[name] = definition;
  return { $ref: `#/components/${kind}/${name}` };
}

/** A schema is also titled with its name: Swagger UI would show alternatives only as numbers. */
export const schema = (name: string, definition: JsonSchema) =>
  component('schemas', name, { title: name, ...definition });

/** The components added so far, in an order that does not depend on which module was loaded first. */
export function sortedComponents(): typeof components {
  return Object.fromEntries(
    Object.entries(components).map(([kind, members]) => [
      kind,
      Object.fromEntries(Object.entries<object>(members).sort(([a], [b]) => (a < b ? -1 : 1))),
    ]),
  ) as typeof components;
}
