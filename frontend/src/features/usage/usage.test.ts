import { describe, expect, it } from 'vitest';
import type { UsageItem } from '@/lib/api/types';
import { everyDay, formatMoney, lastDays, measuresOf, subject, usagePath } from './usage';

const ITEM: UsageItem = {
  kind: 'key',
  day: null,
  modelId: '11111111-1111-4111-8111-111111111111',
  modelName: null,
  keyId: '22222222-2222-4222-8222-222222222222',
  keyName: 'shop',
  requests: 3,
  failedRequests: 0,
  estimatedRequests: 0,
  inputTokens: 9,
  outputTokens: 12,
  milliseconds: 100,
  engineSeconds: 0.1,
  acceleratorSeconds: 0,
  replicaHours: 0,
  currency: null,
  tokenCost: null,
  hardwareCost: null,
  cost: null,
};

describe('days', () => {
  it('end today in UTC, across months and leap days', () => {
    const days = lastDays(3, Date.parse('2028-03-01T23:59:59Z'));
    expect(days).toEqual({ first: '2028-02-28', last: '2028-03-01' });
    expect(everyDay(days)).toEqual(['2028-02-28', '2028-02-29', '2028-03-01']);
  });

  it('stand in the address with what is told apart', () => {
    expect(usagePath({ first: '2026-01-01', last: '2026-01-02' }, ['day', 'key'], 'm', '/export')).toBe(
      '/api/usage/export?from=2026-01-01&to=2026-01-02&by=day&by=key&modelId=m',
    );
  });
});

describe('measures', () => {
  it('have GPU seconds only where GPUs were, and cost only where prices were', () => {
    expect(measuresOf(ITEM).map(({ value }) => value)).toEqual(['requests', 'tokens']);
    const paid = { ...ITEM, acceleratorSeconds: 2, currency: 'EUR', cost: '1.000000' };
    expect(measuresOf(paid).map(({ value }) => value)).toEqual(['requests', 'tokens', 'gpu', 'cost']);
  });
});

describe('words', () => {
  it('keep the digits of small amounts, and say nothing where nothing is known', () => {
    expect(formatMoney('1234.500000', 'EUR')).toBe('€1,234.50');
    expect(formatMoney('0.001200', 'EUR')).toBe('€0.0012');
    expect(formatMoney('0.000000', 'EUR')).toBe('€0.00');
    expect(formatMoney(null, null)).toBe('–');
  });

  it('name what is gone by its id', () => {
    expect(subject(ITEM)).toEqual({ model: 'Deleted model 11111111', key: 'shop' });
    expect(subject({ ...ITEM, kind: 'playground', keyId: null, keyName: null }).key).toBe('Playground');
  });
});
