import { describe, expect, it } from 'vitest';
import { mergeLog } from './log-merge';

describe('mergeLog', () => {
  it('does not repeat lines that came both ways', () => {
    expect(mergeLog(['a', 'b', 'c'], ['b', 'c', 'd'])).toEqual(['a', 'b', 'c', 'd']);
    expect(mergeLog(['a', 'b'], ['a', 'b'])).toEqual(['a', 'b']);
  });

  it('keeps both where they do not overlap', () => {
    expect(mergeLog(['a'], ['b'])).toEqual(['a', 'b']);
    expect(mergeLog(['a'], [])).toEqual(['a']);
  });
});
