import { useSyncExternalStore } from 'react';
import { formatDateTime, formatRelative } from '@/lib/format';

const TICK_MS = 15_000;

let now = Date.now();

function subscribe(listener: () => void): () => void {
  const timer = setInterval(() => {
    now = Date.now();
    listener();
  }, TICK_MS);
  return () => clearInterval(timer);
}

/** "3 minutes ago", kept up to date; the exact time on hover and for machines. */
export function RelativeTime({ time }: { time: string }) {
  const current = useSyncExternalStore(subscribe, () => now);
  return (
    <time dateTime={time} title={formatDateTime(time)}>
      {formatRelative(time, Math.max(current, Date.parse(time)))}
    </time>
  );
}
