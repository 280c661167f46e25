import { describe, expect, it } from 'vitest';
import type { Prices } from '@/lib/api/types';
import { amountProblem, bodyOf, draftOf } from './prices';

const SET: Prices = {
  version: 3,
  currency: 'EUR',
  hardware: [{ kind: 'gpu', perHour: '2.50' }],
  tokens: [{ modelId: null, perMillionInput: '0.1', perMillionOutput: '0.2' }],
  setAt: '2026-01-01T00:00:00Z',
  setBy: 'user:ada',
};

describe('prices in the dialog', () => {
  it('go back as they came', () => {
    const { currency, hardware, tokens } = SET;
    expect(bodyOf(draftOf(SET))).toEqual({ currency, hardware, tokens });
  });

  it('that are left empty are not set', () => {
    const draft = draftOf({ ...SET, version: 0, currency: null, hardware: [], tokens: [] });
    expect(bodyOf(draft)).toEqual({ currency: 'EUR', hardware: [], tokens: [] });
    draft.tokens = [{ model: 'm', perMillionInput: ' 1 ', perMillionOutput: '' }];
    expect(bodyOf(draft).tokens).toEqual([{ modelId: 'm', perMillionInput: '1', perMillionOutput: '0' }]);
  });

  it('are numbers', () => {
    expect(['', '0', '0.15', '12'].map(amountProblem)).toEqual([null, null, null, null]);
    expect(['-1', '1,5', '1e3', 'free', '.5'].map((text) => amountProblem(text) === null)).toEqual([false, false, false, false, false]);
  });
});
