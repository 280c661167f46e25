import type { UsageItem } from '@/lib/api/types';
import { formatNumber } from '@/lib/format';
import { everyDay, type Days, type Measure } from './usage';
import classes from './usage-chart.module.css';

const HEIGHT = 120;
const BAR = 10;
const GAP = 2;

interface UsageChartProps {
  days: Days;
  items: UsageItem[];
  measure: Measure;
}

/** A bar for each day. The table beneath it has the same figures for those who do not see it. */
export function UsageChart({ days, items, measure }: UsageChartProps) {
  const byDay = new Map(items.map((item) => [item.day, item]));
  const bars = everyDay(days).map((day) => {
    const item = byDay.get(day);
    return { day, parts: measure.series.map((series) => (item === undefined ? 0 : series.value(item))) };
  });
  const totals = bars.map(({ parts }) => parts.reduce((sum, part) => sum + part, 0));
  const highest = Math.max(...totals, 0);
  const scale = highest === 0 ? 0 : HEIGHT / highest;

  return (
    <figure className={classes.root}>
      <figcaption className={classes.caption}>
        <span>
          {measure.title} per day (UTC), at most {formatNumber(round(highest))}
        </span>
        {measure.series.length > 1 && (
          <span className={classes.legend}>
            {measure.series.map(({ name }, number) => (
              <span key={name} className={classes.entry} data-series={number}>
                {name}
              </span>
            ))}
          </span>
        )}
      </figcaption>
      <svg
        className={classes.chart}
        viewBox={`0 0 ${bars.length * (BAR + GAP)} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${measure.title} per day from ${days.first} to ${days.last}`}
      >
        {bars.map(({ day, parts }, place) => (
          <g key={day}>
            <title>{`${day}: ${measure.series.map(({ name }, n) => `${name} ${formatNumber(round(parts[n] ?? 0))}`).join(', ')}`}</title>
            <rect className={classes.day} x={place * (BAR + GAP)} y={0} width={BAR} height={HEIGHT} />
            {parts.map((part, number) => {
              const below = parts.slice(0, number).reduce((sum, each) => sum + each, 0);
              return (
                <rect
                  key={measure.series[number]?.name}
                  className={classes.bar}
                  data-series={number}
                  x={place * (BAR + GAP)}
                  y={HEIGHT - (below + part) * scale}
                  width={BAR}
                  height={part * scale}
                />
              );
            })}
          </g>
        ))}
      </svg>
      <div className={classes.axis} aria-hidden>
        <span>{days.first}</span>
        <span>{days.last}</span>
      </div>
    </figure>
  );
}

function round(value: number): number {
  return value >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}
