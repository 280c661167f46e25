import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import { request } from '@/lib/api/client';
import type { UsageItem, UsageReport } from '@/lib/api/types';
import { keys } from '@/lib/query-keys';

export type By = 'day' | 'model' | 'key';
export interface Days {
  first: string;
  last: string;
}

/** Usage comes from the gateway and is no event: the live stream does not tell of it. */
const REFRESH_MS = 15_000;
const DAY_MS = 86_400_000;

/** The last so many days up to today, in UTC, in which usage is counted. */
export function lastDays(count: number, now: number): Days {
  return { first: isoDay(now - (count - 1) * DAY_MS), last: isoDay(now) };
}

/** Every day from the first to the last one. */
export function everyDay({ first, last }: Days): string[] {
  const found: string[] = [];
  for (let at = Date.parse(first); at <= Date.parse(last); at += DAY_MS) found.push(isoDay(at));
  return found;
}

export function usagePath(days: Days, by: By[], modelId?: string, resource = ''): string {
  const search = new URLSearchParams({ from: days.first, to: days.last });
  for (const each of by) search.append('by', each);
  if (modelId !== undefined) search.set('modelId', modelId);
  return `/api/usage${resource}?${search.toString()}`;
}

export function usageQuery(days: Days, by: By[], modelId?: string) {
  return queryOptions({
    queryKey: keys.usage(days, by, modelId),
    queryFn: ({ signal }) => request<UsageReport>('GET', usagePath(days, by, modelId), { signal }),
    refetchInterval: REFRESH_MS,
    placeholderData: keepPreviousData,
  });
}

export interface Series {
  name: string;
  value: (item: UsageItem) => number;
}
export interface Measure {
  value: 'requests' | 'tokens' | 'gpu' | 'cost';
  title: string;
  series: Series[];
}

const REQUESTS: Measure = { value: 'requests', title: 'Requests', series: [{ name: 'Requests', value: (item) => item.requests }] };
const TOKENS: Measure = {
  value: 'tokens',
  title: 'Tokens',
  series: [
    { name: 'Tokens in', value: (item) => item.inputTokens },
    { name: 'Tokens out', value: (item) => item.outputTokens },
  ],
};
const GPU: Measure = { value: 'gpu', title: 'GPU seconds', series: [{ name: 'GPU seconds', value: (item) => item.acceleratorSeconds }] };
const COST: Measure = {
  value: 'cost',
  title: 'Cost',
  series: [
    { name: 'Tokens', value: (item) => Number(item.tokenCost ?? 0) },
    { name: 'Hardware', value: (item) => Number(item.hardwareCost ?? 0) },
  ],
};

/** What there is to be drawn: GPU seconds where GPUs were, cost where prices were. */
export function measuresOf(total: UsageItem): Measure[] {
  return [REQUESTS, TOKENS, ...(total.acceleratorSeconds > 0 ? [GPU] : []), ...(total.cost === null ? [] : [COST])];
}

/** An amount of money as people read it; small ones keep the digits that matter. */
export function formatMoney(amount: string | null, currency: string | null): string {
  if (amount === null || currency === null) return '–';
  const value = Number(amount);
  const digits = value !== 0 && Math.abs(value) < 1 ? 4 : 2;
  return new Intl.NumberFormat('en', { style: 'currency', currency, minimumFractionDigits: 2, maximumFractionDigits: digits }).format(value);
}

/** What the days have cost. Amounts in several currencies stand side by side, for they make no sum. */
export function costOf({ total, items }: UsageReport): string {
  if (total.cost !== null) return formatMoney(total.cost, total.currency);
  const sums = new Map<string, number>();
  for (const { cost, currency } of items) {
    if (cost !== null && currency !== null) sums.set(currency, (sums.get(currency) ?? 0) + Number(cost));
  }
  if (sums.size === 0) return 'No price is set for it';
  return [...sums].map(([currency, sum]) => formatMoney(String(sum), currency)).join(' and ');
}

/** Whom or what a line is about, by what is told apart. */
export function subject(item: UsageItem): { model: string; key: string } {
  const kinds: Record<string, string> = { playground: 'Playground', hardware: 'Running replicas' };
  return {
    model: item.modelName ?? (item.modelId === null ? '' : `Deleted model ${item.modelId.slice(0, 8)}`),
    key: kinds[item.kind] ?? item.keyName ?? (item.keyId === null ? '' : `Key ${item.keyId.slice(0, 8)}`),
  };
}

function isoDay(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}
