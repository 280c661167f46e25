import { useSyncExternalStore } from 'react';
import type { Telemetry, TelemetryKind } from './api/types';

/** The latest progress of one piece of work, with the speed and the time it still needs. */
export interface Progress extends Telemetry {
  /** Units a second, smoothed; null until two measurements of one step have come. */
  rate: number | null;
  /** Seconds left at that rate; null when it cannot be known. */
  remaining: number | null;
  /** Milliseconds of the browser's clock. */
  at: number;
}

/** Weight of the newest measurement in the smoothed rate. */
const SMOOTHING = 0.3;
/** Measurements closer than this (ms) are too noisy to derive a rate from. */
const MIN_INTERVAL_MS = 200;

interface Entry {
  progress: Progress;
  /** The measurement from which the next rate is derived. */
  mark: { done: number; at: number };
}

/** Progress by model and kind. Small and outside of React, because bytes change many times a second. */
export class TelemetryStore {
  readonly #entries = new Map<string, Map<TelemetryKind, Entry>>();
  readonly #latest = new Map<string, Progress>();
  /** Models whose upload this page itself sends: it knows their progress earlier and finer than the server. */
  readonly #measuredHere = new Set<string>();
  readonly #listeners = new Set<() => void>();

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Takes a reading that came from the server. */
  record(telemetry: Telemetry, now: number = Date.now()): void {
    if (telemetry.kind === 'upload' && this.#measuredHere.has(telemetry.modelId)) return;
    this.#take(telemetry, now);
  }

  /** Takes a reading of an upload that this page sends. */
  recordUpload(modelId: string, done: number, total: number, now: number = Date.now()): void {
    this.#measuredHere.add(modelId);
    this.#take({ modelId, kind: 'upload', step: 'upload', done, total, unit: 'bytes', message: null }, now);
  }

  #take(telemetry: Telemetry, now: number): void {
    // Logs have a stream of their own.
    if (telemetry.kind === 'log') return;
    this.#recordProgress(telemetry, now);
    this.#notify();
  }

  #recordProgress(telemetry: Telemetry, now: number): void {
    const kinds = this.#entries.get(telemetry.modelId) ?? new Map<TelemetryKind, Entry>();
    const previous = kinds.get(telemetry.kind);
    const continues =
      previous?.progress.step === telemetry.step && telemetry.done >= previous.progress.done;
    let rate = continues ? previous.progress.rate : null;
    let mark = continues ? previous.mark : { done: telemetry.done, at: now };
    if (continues && now - mark.at >= MIN_INTERVAL_MS) {
      const measured = ((telemetry.done - mark.done) / (now - mark.at)) * 1000;
      rate = rate === null ? measured : rate + SMOOTHING * (measured - rate);
      mark = { done: telemetry.done, at: now };
    }
    const remaining =
      rate !== null && rate > 0 && telemetry.total !== null && telemetry.unit === 'bytes'
        ? (telemetry.total - telemetry.done) / rate
        : null;
    const progress: Progress = { ...telemetry, rate, remaining, at: now };
    kinds.set(telemetry.kind, { progress, mark });
    this.#entries.set(telemetry.modelId, kinds);
    this.#latest.set(telemetry.modelId, progress);
  }

  /** Progress of a kind, or the most recently reported one of any kind. */
  get(modelId: string, kind?: TelemetryKind): Progress | undefined {
    if (kind === undefined) return this.#latest.get(modelId);
    return this.#entries.get(modelId)?.get(kind)?.progress;
  }

  /** Forgets a model's progress once its outcome is known. */
  finish(modelId: string): void {
    this.#entries.delete(modelId);
    this.#latest.delete(modelId);
    this.#measuredHere.delete(modelId);
    this.#notify();
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}

export const telemetryStore = new TelemetryStore();

export function useTelemetry(modelId: string, kind?: TelemetryKind): Progress | undefined {
  return useSyncExternalStore(telemetryStore.subscribe, () => telemetryStore.get(modelId, kind));
}
