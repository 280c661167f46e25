import { Progress as Bar } from '@mantine/core';
import { formatBytes, formatDuration } from '@/lib/format';
import type { Progress } from '@/lib/telemetry';
import classes from './progress-line.module.css';

interface ProgressLineProps {
  progress: Pick<Progress, 'done' | 'total' | 'unit' | 'rate' | 'remaining'>;
  /** What is in progress; names the bar for screen readers. */
  label: string;
  /** Leave out rate and remaining time where there is little room. */
  compact?: boolean;
  paused?: boolean;
}

/** A bar with its figures: bytes with rate and remaining time, or steps, or percent. */
export function ProgressLine({ progress, label, compact = false, paused = false }: ProgressLineProps) {
  const { done, total, unit, rate, remaining } = progress;
  const whole = unit === 'percent' ? 100 : total;
  const percent = whole !== null && whole > 0 ? Math.min(100, (done / whole) * 100) : null;

  return (
    <div className={classes.root}>
      <Bar.Root size={6}>
        <Bar.Section
          value={percent ?? 100}
          aria-label={label}
          animated={percent === null && !paused}
          striped={percent === null}
          color={paused ? 'gray' : 'verdigris'}
        />
      </Bar.Root>
      <div className={classes.figures}>
        <span>{amount(done, total, unit)}</span>
        {!compact && rate !== null && unit === 'bytes' && !paused && (
          <span>
            {formatBytes(rate)}/s
            {remaining !== null && remaining >= 1 && <> · {formatDuration(remaining)} left</>}
          </span>
        )}
        {percent !== null && <span className={classes.percent}>{Math.floor(percent)}%</span>}
      </div>
    </div>
  );
}

function amount(done: number, total: number | null, unit: Progress['unit']): string {
  if (unit === 'percent') return '';
  if (unit === 'seconds') return total === null ? formatDuration(done) : `${formatDuration(done)} of ${formatDuration(total)}`;
  if (unit === 'steps') return total === null ? `Step ${done}` : `Step ${done} of ${total}`;
  return total === null ? formatBytes(done) : `${formatBytes(done)} of ${formatBytes(total)}`;
}
