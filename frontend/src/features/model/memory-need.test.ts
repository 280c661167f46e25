import { expect, it } from 'vitest';
import { bytesNeeded, contextChoices } from './memory-need';

it('adds the cache of the context to the weights', () => {
  expect(bytesNeeded({ dtype: 'bfloat16', weightsBytes: 1000, kvCacheBytesPerToken: 2 }, 100)).toBe(1200);
});

it('offers contexts up to the longest that the model reads', () => {
  expect(contextChoices(8192)).toEqual([2048, 4096, 8192]);
  expect(contextChoices(512)).toEqual([512]);
  expect(contextChoices(null).at(-1)).toBe(4096);
});
