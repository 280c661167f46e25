import { expect, it } from 'vitest';
import { FIRST_CONFIGURATION, jsonFault, parametersSchemas } from './container-configuration';

it('takes the parameters from the first interface', () => {
  const text = JSON.stringify({
    apis: [{ request: { schema: { type: 'object' } }, response: { schema: { type: 'array' } } }, {}],
  });
  expect(parametersSchemas(text)).toEqual({ input: { type: 'object' }, output: { type: 'array' } });
});

it.each(['', '{', '[]', '{"apis": 1}', '{"apis": [null]}', FIRST_CONFIGURATION])('finds none in %j', (text) => {
  expect(parametersSchemas(text)).toEqual({ input: null, output: null });
});

it('accepts only an object', () => {
  expect(jsonFault('{}')).toBeNull();
  expect(jsonFault('[]')).toMatch(/object/);
  expect(jsonFault('{')).not.toBeNull();
});
