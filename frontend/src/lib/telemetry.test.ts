import { describe, expect, it, vi } from 'vitest';
import type { Telemetry } from './api/types';
import { TelemetryStore } from './telemetry';

function reading(changes: Partial<Telemetry> = {}): Telemetry {
  return { modelId: 'm', kind: 'import', step: 'extract', done: 0, total: 1000, unit: 'bytes', message: null, ...changes };
}

describe('TelemetryStore', () => {
  it('derives rate and remaining time from two readings of a step', () => {
    const store = new TelemetryStore();
    store.record(reading({ done: 100 }), 0);
    expect(store.get('m')).toMatchObject({ rate: null, remaining: null });
    store.record(reading({ done: 300 }), 1000);
    expect(store.get('m')).toMatchObject({ rate: 200, remaining: 3.5 });
  });

  it('begins anew with another step, and when a repeated step starts from the beginning', () => {
    const store = new TelemetryStore();
    store.record(reading({ done: 100 }), 0);
    store.record(reading({ done: 300 }), 1000);
    store.record(reading({ done: 50 }), 2000);
    expect(store.get('m')?.rate).toBeNull();
    store.record(reading({ step: 'validate', done: 60 }), 3000);
    expect(store.get('m')?.rate).toBeNull();
  });

  it('knows no remaining time where the total is unknown', () => {
    const store = new TelemetryStore();
    store.record(reading({ total: null }), 0);
    store.record(reading({ total: null, done: 500 }), 1000);
    expect(store.get('m')).toMatchObject({ rate: 500, remaining: null });
  });

  it('prefers what this page measures of its own upload to what the server reports later', () => {
    const store = new TelemetryStore();
    store.recordUpload('m', 800, 1000, 0);
    store.record(reading({ kind: 'upload', step: 'upload', done: 500 }), 10);
    expect(store.get('m', 'upload')?.done).toBe(800);
    store.finish('m');
    store.record(reading({ kind: 'upload', step: 'upload', done: 900 }), 20);
    expect(store.get('m', 'upload')?.done).toBe(900);
  });

  it('takes no line of a log for progress, and forgets the progress of what has ended', () => {
    const store = new TelemetryStore();
    store.record(reading({ done: 10 }), 0);
    store.record(reading({ kind: 'log', message: 'loading weights' }), 1);
    expect(store.get('m')?.done).toBe(10);
    store.finish('m');
    expect(store.get('m')).toBeUndefined();
  });

  it('tells its subscribers until they leave', () => {
    const store = new TelemetryStore();
    const listener = vi.fn();
    const leave = store.subscribe(listener);
    store.record(reading(), 0);
    leave();
    store.record(reading(), 1);
    expect(listener).toHaveBeenCalledTimes(1);
  });
});
