import { Link } from '@tanstack/react-router';
import { StateBadge } from '@/components/state-badge';
import type { BatchRow } from '@/lib/api/types';
import { formatBytes } from '@/lib/format';
import { useTelemetry } from '@/lib/live';
import classes from './batch-page.module.css';

/** A model of a batch: its name, how far it is, or why it failed. */
export function BatchRowView({ row }: { row: BatchRow }) {
  const progress = useTelemetry(row.id, 'import');
  const percent = progress?.total ? `${Math.floor((progress.done / progress.total) * 100)}% of ${formatBytes(progress.total)}` : null;
  const running = row.state === 'importing' || row.state === 'validating';
  return (
    <>
      <div className={classes.cell}>
        {row.state === 'deleted' ? (
          <span className={classes.gone}>{row.name ?? 'A deleted model'}</span>
        ) : (
          <Link to="/models/$modelId" params={{ modelId: row.id }} className={classes.name}>
            {row.name ?? row.id}
          </Link>
        )}
        <div className={classes.detail} title={row.failure?.reason}>
          {row.failure !== null
            ? row.failure.reason
            : running
              ? (progress?.message ?? (progress?.unit === 'bytes' ? percent : null) ?? 'Waiting for its turn')
              : row.modelVersion !== null && `Version ${row.modelVersion}`}
        </div>
      </div>
      {row.state !== 'deleted' && <StateBadge state={row.state} />}
    </>
  );
}
