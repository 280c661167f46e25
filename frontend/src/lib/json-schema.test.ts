import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parametersOf, pointerPath, schemaAt, valuesOf, type JsonSchema } from './json-schema';

const schema = JSON.parse(
  readFileSync('../backend/contracts/container-configuration.json', 'utf8'),
) as JsonSchema;

describe('the schema of a configuration file', () => {
  it('knows what may stand at a place, through references', () => {
    expect(Object.keys(schemaAt(schema, ['health'])?.properties ?? {})).toContain('timeoutSeconds');
    expect(schemaAt(schema, ['apis', 0, 'path'])?.description).toBe('Path of the interface.');
    expect(valuesOf(schemaAt(schema, ['apis', 3, 'method']) ?? {})).toContain('"POST"');
    expect(valuesOf(schemaAt(schema, ['schemaVersion']) ?? {})).toEqual(['1']);
    expect(schemaAt(schema, ['nothing', 'there'])).toBeNull();
  });
});

it('reads JSON pointers', () => {
  expect(pointerPath('/apis/0/a~1b')).toEqual(['apis', 0, 'a/b']);
  expect(pointerPath('')).toEqual([]);
});

it('lists parameters with those of inner objects and lists', () => {
  const parameters = parametersOf({
    type: 'object',
    required: ['text'],
    properties: {
      text: { type: 'string', description: 'What to judge' },
      options: { type: 'object', properties: { top: { type: 'integer' } } },
      images: { type: 'array', items: { type: 'object', properties: { url: { type: 'string' } } } },
    },
  });
  expect(parameters.map(({ name, type, required }) => [name, type, required])).toEqual([
    ['text', 'string', true],
    ['options', 'object', false],
    ['options.top', 'integer', false],
    ['images', 'list of object', false],
    ['images[].url', 'string', false],
  ]);
  expect(parametersOf('not a schema')).toEqual([]);
});
