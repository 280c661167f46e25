import { describe, expect, it } from 'vitest';
import type { UsageItem, UsageReport } from '@/lib/api/types';
import { costOf, everyDay, formatMoney, lastDays, measuresOf, subject, usagePath } from './usage';

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

describe('the cost of several days', () => {
  const day = (cost: string | null, currency: string | null): UsageItem => ({ ...ITEM, cost, currency });
  const report = (total: UsageItem, ...items: UsageItem[]): UsageReport => ({
    firstDay: '2026-01-01', lastDay: '2026-01-31', missingRecords: 0, updatedAt: '2026-01-31T00:00:00Z', total, items,
  });

  it('is their sum in one currency', () => {
    expect(costOf(report(day('3.5', 'EUR'), day('1.5', 'EUR'), day('2', 'EUR'), day(null, null)))).toBe('€3.50');
  });

  it('is no sum where the currency has changed', () => {
    const days = [day('1.5', 'EUR'), day('2', 'EUR'), day(null, null), day('4', 'USD')];
    expect(costOf(report(day(null, null), ...days))).toBe('€3.50 and $4.00');
  });

  it('is not known without prices', () => {
    expect(costOf(report(day(null, null), day(null, null)))).toBe('No price is set for it');
  });
});
