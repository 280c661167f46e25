/** A small valid configuration to begin with. */
export const FIRST_CONFIGURATION = `${JSON.stringify(
  {
    schemaVersion: 1,
    port: 8080,
    health: { path: '/health' },
    apis: [{ path: '/v1/predict', method: 'POST' }],
  },
  null,
  2,
)}
`;

/** What is wrong with a text that should be a JSON object; null for one. */
export function jsonFault(text: string): string | null {
  try {
    const document: unknown = JSON.parse(text);
    return typeof document === 'object' && document !== null && !Array.isArray(document) ? null : 'It must be a JSON object.';
  } catch (error) {
    return error instanceof Error ? error.message : 'It is not JSON.';
  }
}

/** The schemas of input and output that the first interface of a configuration gives. */
export function parametersSchemas(text: string): { input: unknown; output: unknown } {
  if (jsonFault(text) !== null) return { input: null, output: null };
  const { apis } = JSON.parse(text) as { apis?: unknown };
  const first: unknown = Array.isArray(apis) ? apis[0] : null;
  return { input: inner(first, 'request', 'schema'), output: inner(first, 'response', 'schema') };
}

function inner(value: unknown, ...names: string[]): unknown {
  let current = value;
  for (const name of names) {
    current = typeof current === 'object' && current !== null ? (current as Record<string, unknown>)[name] : null;
  }
  return current ?? null;
}
