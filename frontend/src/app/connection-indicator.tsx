import { IconPlugConnectedX } from '@tabler/icons-react';
import { useEffect, useState } from 'react';
import { useLiveState } from '@/lib/live';
import classes from './connection-indicator.module.css';

/** Shorter interruptions than this (ms) mend themselves before anybody needs to know. */
const PATIENCE_MS = 2_000;

/** Says when the page no longer hears of changes. Nothing is shown while all is well. */
export function ConnectionIndicator() {
  const state = useLiveState();
  const [lost, setLost] = useState(false);

  useEffect(() => {
    const timer = setTimeout(() => setLost(state === 'lost'), state === 'lost' ? PATIENCE_MS : 0);
    return () => clearTimeout(timer);
  }, [state]);

  return (
    <div role="status">
      {lost && (
        <span className={classes.lost} title="What you see may be older than what is true. It refreshes by itself.">
          <IconPlugConnectedX size={16} aria-hidden />
          <span className={classes.words}>Connection lost, reconnecting…</span>
        </span>
      )}
    </div>
  );
}
