import { useEffect, useState } from 'react';
import { withQuery } from '@/lib/api/client';

const KEPT_LINES = 4000;

interface LogStream {
  lines: readonly string[];
  connected: boolean;
}

const NOTHING: LogStream = { lines: [], connected: false };

/**
 * A replica's log: its last lines, then each as it comes. The browser connects again by itself and names the last
 * line that it has, so that nothing is missed and nothing comes twice.
 */
export function useLogStream(modelId: string, replica: string | null): LogStream {
  const key = `${modelId} ${replica ?? ''}`;
  const [state, setState] = useState<{ key: string; stream: LogStream }>({ key, stream: NOTHING });

  useEffect(() => {
    const source = new EventSource(withQuery(`/api/models/${modelId}/deployment/logs/stream`, { replica }));
    const update = (change: (stream: LogStream) => LogStream) =>
      setState((before) => ({ key, stream: change(before.key === key ? before.stream : NOTHING) }));
    source.addEventListener('open', () => update((stream) => ({ ...stream, connected: true })));
    source.addEventListener('error', () => update((stream) => ({ ...stream, connected: false })));
    source.addEventListener('lines', (event: MessageEvent<string>) => {
      const fresh = JSON.parse(event.data) as string[];
      update((stream) => ({ connected: true, lines: appended(stream.lines, fresh) }));
    });
    return () => source.close();
  }, [key, modelId, replica]);

  return state.key === key ? state.stream : NOTHING;
}

/** The lines with the new ones behind them, and of many the last. */
export function appended(lines: readonly string[], fresh: readonly string[]): readonly string[] {
  return [...lines, ...fresh].slice(-KEPT_LINES);
}
