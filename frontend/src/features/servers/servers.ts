import { queryOptions } from '@tanstack/react-query';
import { request } from '@/lib/api/client';
import type { Capacity, LoadPoint, PlacedReplica, Server } from '@/lib/api/types';
import { formatNumber } from '@/lib/format';
import { atLeast } from '@/lib/freshness';
import { keys } from '@/lib/query-keys';

/** Signs of life are no events: what is shown must be looked at again. */
const LOOK_MS = 2_000;
const READING_MS = 10_000;

export const ENGINES = { vllm: 'vLLM', triton: 'Triton' } as const;

export const serversQuery = queryOptions({
  queryKey: keys.servers,
  queryFn: ({ signal }) => request<{ items: Server[] }>('GET', '/api/servers', { query: { atLeast: atLeast() }, signal }),
  refetchInterval: LOOK_MS,
});

export function loadQuery(name: string, hours: number) {
  return queryOptions({
    queryKey: keys.serverLoad(name, hours),
    queryFn: ({ signal }) =>
      request<{ items: LoadPoint[] }>('GET', `/api/servers/${encodeURIComponent(name)}/load`, { query: { hours }, signal }),
    refetchInterval: READING_MS,
  });
}

/** What a machine has, or what people say that a registered server has, in a line. */
export function capacityText(server: Server): string {
  const { registration } = server;
  const parts =
    registration === null
      ? [server.cpuCount === null ? null : `${server.cpuCount} CPU cores`, gib(server.memoryGib, 'memory'), machineGpus(server)]
      : [gib(registration.capacity.memoryGib, 'memory'), registeredGpus(registration.capacity), deployments(registration.capacity)];
  return parts.filter((part) => part !== null).join(' · ');
}

function gib(value: number | null | undefined, what: string): string | null {
  return value === null || value === undefined ? null : `${formatNumber(value)} GiB ${what}`;
}

function machineGpus({ gpus }: Server): string {
  const [first] = gpus;
  return first === undefined ? 'no GPU' : `${gpus.length} × ${first.name} (${formatNumber(first.memoryGib)} GiB)`;
}

function registeredGpus({ gpuCount, gpuName, gpuMemoryGib }: Capacity): string | null {
  if (gpuCount === 0) return null;
  const memory = gpuMemoryGib === null ? '' : ` (${formatNumber(gpuMemoryGib)} GiB)`;
  return `${gpuCount} × ${gpuName === '' ? 'GPU' : gpuName}${memory}`;
}

function deployments({ deployments: count }: Capacity): string {
  return count === 1 ? 'one deployment at a time' : `${count} deployments at a time`;
}

/** Requests inside a replica, in words; null where they have not been read. */
export function requestsText({ running, waiting }: Pick<PlacedReplica, 'running' | 'waiting'>): string | null {
  if (running === null || waiting === null) return null;
  return `${running} running, ${waiting} waiting`;
}

export interface Line {
  name: string;
  label: string;
  color: string;
}

export interface ChartData {
  title: string;
  unit: string;
  lines: Line[];
  points: Record<string, number | null>[];
}

const COLORS = ['var(--loggia-accent)', 'var(--loggia-active)', 'var(--loggia-warn)', 'var(--loggia-bad)'];

/** The charts that the readings fill: a part of a server that never told anything gets none. */
export function chartsOf(points: LoadPoint[]): ChartData[] {
  const gpus = Math.max(0, ...points.map(({ gpuUtilizationPercent }) => gpuUtilizationPercent.length));
  const gpuLines = (values: (point: LoadPoint) => (number | null)[]) =>
    Array.from({ length: gpus }, (_, index) => ({ label: `GPU ${index}`, value: (point: LoadPoint) => values(point)[index] ?? null }));
  return [
    chart(points, 'Requests', '', [
      { label: 'Running', value: (point) => point.running },
      { label: 'Waiting', value: (point) => point.waiting },
    ]),
    chart(points, 'Processor', '%', [{ label: 'Processor', value: (point) => point.cpuPercent ?? null }]),
    chart(points, 'Memory', 'GiB', [{ label: 'Memory', value: (point) => point.memoryUsedGib ?? null }]),
    chart(points, 'GPU utilisation', '%', gpuLines((point) => point.gpuUtilizationPercent)),
    chart(points, 'GPU memory', 'GiB', gpuLines((point) => point.gpuMemoryUsedGib)),
    chart(points, 'GPU temperature', '°C', gpuLines((point) => point.gpuTemperatureCelsius)),
  ].filter(({ lines }) => lines.length > 0);
}

function chart(
  points: LoadPoint[],
  title: string,
  unit: string,
  wanted: { label: string; value: (point: LoadPoint) => number | null }[],
): ChartData {
  const told = wanted.filter(({ value }) => points.some((point) => value(point) !== null));
  return {
    title,
    unit,
    lines: told.map(({ label }, index) => ({ name: label, label, color: COLORS[index % COLORS.length] ?? 'currentColor' })),
    points: points.map((point) => ({
      at: Date.parse(point.at),
      ...Object.fromEntries(told.map(({ label, value }) => [label, value(point)])),
    })),
  };
}

/** The newest value of each line and the range it moved in, for whoever cannot see the chart. */
export function chartText({ title, unit, lines, points }: ChartData): string {
  const said = lines.map(({ name, label }) => {
    const values = points.map((point) => point[name]).filter((value) => value !== null && value !== undefined);
    const newest = values.at(-1);
    if (newest === undefined) return `${label}: nothing was read`;
    const amount = (value: number) => `${formatNumber(Math.round(value * 10) / 10)}${unit === '' ? '' : ` ${unit}`}`;
    return `${label}: now ${amount(newest)}, between ${amount(Math.min(...values))} and ${amount(Math.max(...values))}`;
  });
  return `${title}. ${said.join('. ')}.`;
}
