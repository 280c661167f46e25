import { describe, expect, it } from 'vitest';
import type { Phase } from './api/types';
import { phaseShares, phaseTime } from './phases';

const phase = (part: Partial<Phase>): Phase => ({ name: 'starting', state: 'done', seconds: 1, ...part });

describe('phaseTime', () => {
  it.each([
    [phase({ seconds: 0.04 }), '0 s'],
    [phase({ seconds: 0.44 }), '0.4 s'],
    [phase({ seconds: 95 }), '1 min 35 s'],
    [phase({ seconds: null, state: 'running' }), 'in progress'],
    [phase({ seconds: null }), '—'],
    [phase({ seconds: 3, state: 'failed' }), 'failed after 3 s'],
  ])('says of %o: %s', (given, said) => {
    expect(phaseTime(given)).toBe(said);
  });
});

describe('phaseShares', () => {
  it('divides the whole, and hides nothing', () => {
    expect(phaseShares([phase({ seconds: 75 }), phase({ seconds: 25 }), phase({ seconds: 0 })])).toEqual([75, 25, 1.5]);
  });

  it('is even where no time is known', () => {
    expect(phaseShares([phase({ seconds: null }), phase({ seconds: null })])).toEqual([50, 50]);
  });
});
