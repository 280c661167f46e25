import '@mantine/charts/styles.css';
import { BarChart } from '@mantine/charts';
import type { UsageItem } from '@/lib/api/types';
import { formatNumber } from '@/lib/format';
import { everyDay, type Days, type Measure } from './usage';
import classes from './usage-chart.module.css';

const COLORS = ['var(--loggia-accent)', 'var(--loggia-warn)'];

interface UsageChartProps {
  days: Days;
  items: UsageItem[];
  measure: Measure;
}

/** A bar for each day. The table beneath it has the same figures for those who do not see it. */
export default function UsageChart({ days, items, measure }: UsageChartProps) {
  const byDay = new Map(items.map((item) => [item.day, item]));
  const bars = everyDay(days).map((day) => {
    const item = byDay.get(day);
    return { day, ...Object.fromEntries(measure.series.map(({ name, value }) => [name, item === undefined ? 0 : value(item)])) };
  });
  const nothing = items.every((item) => measure.series.every(({ value }) => value(item) === 0));

  return (
    <figure className={classes.root}>
      <figcaption className={classes.caption}>{measure.title} per day (UTC)</figcaption>
      {nothing ? (
        <p className={classes.nothing}>Nothing in this time.</p>
      ) : (
        <div role="img" aria-label={`${measure.title} per day from ${days.first} to ${days.last}`}>
          <BarChart
            h={190}
            data={bars}
            dataKey="day"
            type="stacked"
            series={measure.series.map(({ name }, number) => ({ name, color: COLORS[number] ?? 'gray' }))}
            withLegend={measure.series.length > 1}
            legendProps={{ verticalAlign: 'top', height: 32 }}
            barChartProps={{ accessibilityLayer: false }}
            barProps={{ isAnimationActive: false }}
            gridColor="var(--loggia-line)"
            textColor="var(--loggia-muted)"
            valueFormatter={(value) => formatNumber(round(value))}
            xAxisProps={{ minTickGap: 40 }}
            yAxisProps={{ width: 60 }}
          />
        </div>
      )}
    </figure>
  );
}

function round(value: number): number {
  return value >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}
