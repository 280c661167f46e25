import { describe, expect, it } from 'vitest';
import { replicasText } from './format';

describe('replicasText', () => {
  it.each([
    [2, 2, '2 of 2 replicas'],
    [0, 1, '0 of 1 replica'],
    [0, 0, 'No replicas'],
  ])('%d of %d', (ready, wanted, text) => {
    expect(replicasText({ ready, wanted })).toBe(text);
  });
});
