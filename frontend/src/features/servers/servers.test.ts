import { describe, expect, it } from 'vitest';
import type { LoadPoint, Server } from '@/lib/api/types';
import { capacityText, chartsOf, chartText, requestsText } from './servers';

const machine: Server = {
  name: 'local', hardware: 'local', state: 'ready', since: null, reason: null, checkedAt: null, cpuCount: 8, cpuPercent: 5,
  memoryGib: 62.5, memoryPromisedGib: 4, memoryUsedGib: 9, gpus: [], driver: null, bounds: null, engines: [], replicas: [],
  registration: null, removable: false,
};

function point(at: string, load: Partial<LoadPoint>): LoadPoint {
  return {
    at, cpuPercent: null, memoryUsedGib: null, gpuUtilizationPercent: [], gpuMemoryUsedGib: [], gpuTemperatureCelsius: [],
    running: 0, waiting: 0, ...load,
  };
}

describe('capacityText', () => {
  it('says what a machine has', () => {
    expect(capacityText(machine)).toBe('8 CPU cores · 62.5 GiB memory · no GPU');
    const gpu = { index: 0, name: 'H200', memoryGib: 139, promisedGib: 0, memoryUsedGib: 0, utilizationPercent: 0, temperatureCelsius: 40 };
    expect(capacityText({ ...machine, gpus: [gpu, gpu] })).toContain('2 × H200 (139 GiB)');
  });

  it('says of a registered server what people know', () => {
    const registration = {
      id: 'a', version: 1, pool: 'gpus', address: 'http://gpu-7:8000', grpcAddress: '', engine: 'vllm' as const,
      hasCredentials: true, registeredAt: '', registeredBy: 'user:ada',
      capacity: { deployments: 1, memoryGib: null, gpuCount: 2, gpuName: '', gpuMemoryGib: null },
    };
    expect(capacityText({ ...machine, registration })).toBe('2 × GPU · one deployment at a time');
  });
});

describe('chartsOf', () => {
  it('draws only what was told', () => {
    const charts = chartsOf([
      point('2026-01-01T00:00:00Z', { running: 2 }),
      point('2026-01-01T00:00:10Z', { running: 4, waiting: 1, gpuTemperatureCelsius: [61], gpuUtilizationPercent: [null], gpuMemoryUsedGib: [30] }),
    ]);
    expect(charts.map(({ title }) => title)).toEqual(['Requests', 'GPU memory', 'GPU temperature']);
    expect(charts.map(chartText)[0]).toBe('Requests. Running: now 4, between 2 and 4. Waiting: now 1, between 0 and 1.');
    expect(charts.map(chartText)[2]).toBe('GPU temperature. GPU 0: now 61 °C, between 61 °C and 61 °C.');
  });
});

describe('requestsText', () => {
  it('is silent where nothing was read', () => {
    expect(requestsText({ running: null, waiting: null })).toBeNull();
    expect(requestsText({ running: 3, waiting: 1 })).toBe('3 running, 1 waiting');
  });
});
