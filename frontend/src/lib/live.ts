import type { QueryClient, QueryKey } from '@tanstack/react-query';
import { useEffect, useSyncExternalStore } from 'react';
import { ApiProblem, reportUnauthorized, request, withQuery } from './api/client';
import type { LiveEvent, Telemetry } from './api/types';
import { rememberPosition } from './freshness';
import { keys } from './query-keys';
import { refresh } from './refresh';
import { telemetryStore } from './telemetry';

export { useTelemetry } from './telemetry';

export type LiveState = 'connecting' | 'open' | 'lost';

/** Events that end a piece of work, after which its progress means nothing any more. */
const OUTCOMES = new Set([
  'ModelSourceFetched',
  'ModelFilesStored',
  'ModelValidated',
  'ModelImportFailed',
  'ModelImportCancelled',
  'ModelDeleted',
  'RevisionDeployed',
  'RevisionFailed',
  'DeploymentStopped',
]);

const REFRESH_DELAY_MS = 80;
export const FIRST_RECONNECT_MS = 1_000;
export const MAX_RECONNECT_MS = 15_000;
/** A stream that slept longer than this with its tab is opened anew: it may be dead without knowing. */
const STALE_AFTER_HIDDEN_MS = 60_000;

type EventListener = (event: LiveEvent) => void;

/**
 * The page's one stream of events. It resumes after the last position it saw, makes the cache refetch what an
 * event touches, and refetches everything shown whenever the connection has been away.
 */
class LiveStream {
  #source: EventSource | null = null;
  #queryClient: QueryClient | null = null;
  #state: LiveState = 'connecting';
  #position = 0;
  #reconnectMs = FIRST_RECONNECT_MS;
  #reconnect: ReturnType<typeof setTimeout> | undefined;
  #refresh: ReturnType<typeof setTimeout> | undefined;
  #hiddenSince: number | null = null;
  readonly #touched = new Set<string>();
  readonly #stateListeners = new Set<() => void>();
  readonly #eventListeners = new Set<EventListener>();

  start(queryClient: QueryClient): () => void {
    this.#queryClient = queryClient;
    window.addEventListener('online', this.#reopen);
    document.addEventListener('visibilitychange', this.#onVisibility);
    this.#open();
    return () => {
      window.removeEventListener('online', this.#reopen);
      document.removeEventListener('visibilitychange', this.#onVisibility);
      clearTimeout(this.#reconnect);
      clearTimeout(this.#refresh);
      this.#source?.close();
      this.#source = null;
      this.#position = 0;
      this.#setState('connecting');
    };
  }

  get state(): LiveState {
    return this.#state;
  }

  onState = (listener: () => void): (() => void) => {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  };

  onEvent = (listener: EventListener): (() => void) => {
    this.#eventListeners.add(listener);
    return () => this.#eventListeners.delete(listener);
  };

  #open(): void {
    clearTimeout(this.#reconnect);
    this.#source?.close();
    const source = new EventSource(
      withQuery('/api/events/stream', { after: this.#position === 0 ? undefined : this.#position }),
    );
    this.#source = source;
    source.addEventListener('open', () => {
      this.#reconnectMs = FIRST_RECONNECT_MS;
      this.#setState('open');
      void this.#queryClient?.invalidateQueries({ predicate: ({ queryKey }) => queryKey[0] !== 'session' });
    });
    source.addEventListener('error', () => {
      this.#setState('lost');
      // The browser reconnects by itself unless the server refused the stream.
      if (source.readyState === EventSource.CLOSED) {
        this.#openLater();
        void leaveIfSignedOut();
      }
    });
    source.addEventListener('event', (message: MessageEvent<string>) => {
      this.#onEvent(JSON.parse(message.data) as LiveEvent);
    });
    source.addEventListener('telemetry', (message: MessageEvent<string>) => {
      telemetryStore.record(JSON.parse(message.data) as Telemetry);
    });
  }

  #openLater(): void {
    clearTimeout(this.#reconnect);
    this.#reconnect = setTimeout(() => this.#open(), this.#reconnectMs);
    this.#reconnectMs = Math.min(this.#reconnectMs * 2, MAX_RECONNECT_MS);
  }

  #reopen = (): void => {
    this.#open();
  };

  #onVisibility = (): void => {
    if (document.visibilityState === 'hidden') {
      this.#hiddenSince = Date.now();
    } else if (this.#hiddenSince !== null) {
      const hidden = Date.now() - this.#hiddenSince;
      this.#hiddenSince = null;
      if (hidden > STALE_AFTER_HIDDEN_MS) this.#open();
    }
  };

  #onEvent(event: LiveEvent): void {
    if (event.position <= this.#position) return;
    this.#position = event.position;
    rememberPosition(event.modelId, event.position);
    if (event.modelId !== null) {
      if (OUTCOMES.has(event.type)) telemetryStore.finish(event.modelId);
      this.#touched.add(event.modelId);
    }
    this.#refresh ??= setTimeout(() => this.#refreshTouched(), REFRESH_DELAY_MS);
    for (const listener of this.#eventListeners) listener(event);
  }

  #refreshTouched(): void {
    this.#refresh = undefined;
    for (const modelId of this.#touched) {
      this.#read(keys.model(modelId));
    }
    this.#touched.clear();
    for (const queryKey of [
      keys.models, keys.marketplace, keys.batches, keys.connections, keys.servers, keys.prices,
    ]) {
      this.#read(queryKey);
    }
  }

  #read(queryKey: QueryKey): void {
    if (this.#queryClient !== null) void refresh(this.#queryClient, queryKey);
  }

  #setState(state: LiveState): void {
    if (this.#state === state) return;
    this.#state = state;
    for (const listener of this.#stateListeners) listener();
  }
}

/** A stream does not say why it was refused: asking for the session does. */
export async function leaveIfSignedOut(): Promise<void> {
  try {
    await request('GET', '/api/session');
  } catch (error) {
    if (ApiProblem.from(error).status === 401) reportUnauthorized();
  }
}

export const liveStream = new LiveStream();

export function useLiveState(): LiveState {
  return useSyncExternalStore(liveStream.onState, () => liveStream.state);
}

/** Calls the listener for every new event. Keep the listener stable (useCallback). */
export function useLiveEvents(listener: EventListener): void {
  useEffect(() => liveStream.onEvent(listener), [listener]);
}
