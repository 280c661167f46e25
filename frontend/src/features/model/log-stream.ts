import { useEffect, useState } from 'react';
import { withQuery } from '@/lib/api/client';
import { FIRST_RECONNECT_MS, leaveIfSignedOut, MAX_RECONNECT_MS } from '@/lib/live';

const KEPT_LINES = 4000;

interface LogStream {
  lines: readonly string[];
  connected: boolean;
}

const NOTHING: LogStream = { lines: [], connected: false };

/**
 * A replica's log: its last lines, then each as it comes. A connection that was lost is made again from the last
 * line on, so that nothing is missed and nothing comes twice.
 */
export function useLogStream(modelId: string, replica: string | null): LogStream {
  const key = `${modelId} ${replica ?? ''}`;
  const [state, setState] = useState<{ key: string; stream: LogStream }>({ key, stream: NOTHING });

  useEffect(() => {
    const update = (change: (stream: LogStream) => LogStream) =>
      setState((before) => ({ key, stream: change(before.key === key ? before.stream : NOTHING) }));
    return followed(modelId, replica, {
      connected: (connected) => update((stream) => ({ ...stream, connected })),
      lines: (fresh) => update((stream) => ({ connected: true, lines: appended(stream.lines, fresh) })),
    });
  }, [key, modelId, replica]);

  return state.key === key ? state.stream : NOTHING;
}

interface Follower {
  connected: (connected: boolean) => void;
  lines: (fresh: string[]) => void;
}

/** Follows the log until the function that it returns is called. */
function followed(modelId: string, replica: string | null, follower: Follower): () => void {
  let source: EventSource | undefined;
  let reconnect: ReturnType<typeof setTimeout> | undefined;
  let reconnectMs = FIRST_RECONNECT_MS;
  let after = '';

  const open = () => {
    const opened = new EventSource(withQuery(`/api/models/${modelId}/deployment/logs/stream`, { replica, after }));
    source = opened;
    opened.addEventListener('open', () => {
      reconnectMs = FIRST_RECONNECT_MS;
      follower.connected(true);
    });
    opened.addEventListener('error', () => {
      follower.connected(false);
      // The browser reconnects by itself unless the server refused the stream.
      if (opened.readyState !== EventSource.CLOSED) return;
      reconnect = setTimeout(open, reconnectMs);
      reconnectMs = Math.min(reconnectMs * 2, MAX_RECONNECT_MS);
      void leaveIfSignedOut();
    });
    opened.addEventListener('lines', (event: MessageEvent<string>) => {
      after = event.lastEventId;
      follower.lines(JSON.parse(event.data) as string[]);
    });
  };

  open();
  return () => {
    clearTimeout(reconnect);
    source?.close();
  };
}

/** The lines with the new ones behind them, and of many the last. */
export function appended(lines: readonly string[], fresh: readonly string[]): readonly string[] {
  return [...lines, ...fresh].slice(-KEPT_LINES);
}
