/** A JSON Schema as far as it is read here. */
export interface JsonSchema {
  type?: string | string[];
  title?: string;
  description?: string;
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  required?: string[];
  properties?: Record<string, JsonSchema>;
  items?: JsonSchema;
  $ref?: string;
  $defs?: Record<string, JsonSchema>;
  [keyword: string]: unknown;
}

const DEEPEST = 8;

/** A JSON pointer: `/apis/0/path` → ["apis", 0, "path"]. */
export function pointerPath(pointer: string): (string | number)[] {
  return pointer
    .split('/')
    .slice(1)
    .map((part) => {
      const text = part.replaceAll('~1', '/').replaceAll('~0', '~');
      return /^\d+$/.test(text) ? Number(text) : text;
    });
}

/** The schema of a place; null where the schema says nothing of it. */
export function schemaAt(root: JsonSchema, path: readonly (string | number)[]): JsonSchema | null {
  let schema = resolved(root, root);
  for (const step of path) {
    const next = typeof step === 'number' ? schema?.items : schema?.properties?.[step];
    schema = next === undefined ? null : resolved(root, next);
  }
  return schema;
}

function resolved(root: JsonSchema, schema: JsonSchema): JsonSchema | null {
  let current: JsonSchema | undefined = schema;
  for (let depth = 0; current?.$ref !== undefined && depth < DEEPEST; depth += 1) {
    current = followed(root, current, current.$ref);
  }
  return current ?? null;
}

/** What stands beside a reference counts more than what it refers to. */
function followed(root: JsonSchema, schema: JsonSchema, reference: string): JsonSchema | undefined {
  const { $ref: _, ...own } = schema;
  const target = root.$defs?.[reference.replace('#/$defs/', '')];
  return target === undefined ? undefined : { ...target, ...own };
}

/** The values that a place can have, as JSON, where they can be counted. */
export function valuesOf(schema: JsonSchema): string[] {
  const values =
    schema.const !== undefined ? [schema.const] : (schema.enum ?? (schema.type === 'boolean' ? [true, false] : []));
  return values.map((value) => JSON.stringify(value));
}

export interface Parameter {
  name: string;
  type: string;
  required: boolean;
  description: string;
}

/** The parameters that a schema describes, those of inner objects with their path. */
export function parametersOf(schema: unknown): Parameter[] {
  return isSchema(schema) ? collect(schema, '', 0) : [];
}

function collect(schema: JsonSchema, prefix: string, depth: number): Parameter[] {
  if (!isSchema(schema.properties) || depth >= DEEPEST) return [];
  return Object.entries(schema.properties).flatMap(([name, inner]) => {
    if (!isSchema(inner)) return [];
    const path = prefix === '' ? name : `${prefix}.${name}`;
    const within = inner.type === 'array' && isSchema(inner.items) ? inner.items : inner;
    return [
      {
        name: path,
        type: typeText(inner),
        required: Array.isArray(schema.required) && schema.required.includes(name),
        description: inner.description ?? inner.title ?? '',
      },
      ...collect(within, within === inner ? path : `${path}[]`, depth + 1),
    ];
  });
}

function typeText(schema: JsonSchema): string {
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  if (schema.type === 'array') return `list of ${isSchema(schema.items) ? typeText(schema.items) : 'anything'}`;
  if (Array.isArray(schema.type)) return schema.type.join(' or ');
  return schema.type ?? 'any';
}

function isSchema(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
