import '@mantine/charts/styles.css';
import { LineChart } from '@mantine/charts';
import { SegmentedControl, Skeleton } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { ProblemAlert } from '@/components/problem-alert';
import { chartsOf, chartText, loadQuery } from './servers';
import classes from './servers-page.module.css';

const RANGES = [
  { value: '1', label: 'Last hour' },
  { value: '6', label: '6 hours' },
  { value: '24', label: 'Last day' },
];
const TIME = new Intl.DateTimeFormat('en-GB', { timeStyle: 'short' });

/** Processor, memory, GPUs and requests over time; each chart is said in words as well. */
export default function LoadCharts({ name }: { name: string }) {
  const [hours, setHours] = useState('1');
  const load = useQuery(loadQuery(name, Number(hours)));
  const charts = chartsOf(load.data?.items ?? []);
  return (
    <div className={classes.content}>
      <div>
        <SegmentedControl size="xs" aria-label="How far back" data={RANGES} value={hours} onChange={setHours} />
      </div>
      <ProblemAlert problem={load.error} onRetry={() => void load.refetch()} />
      {load.isPending && <Skeleton height={180} />}
      {load.isSuccess && charts.length === 0 && <p className={classes.quiet}>Nothing was read in this time.</p>}
      <div className={classes.charts}>
        {charts.map((chart) => (
          <figure key={chart.title} className={classes.chart}>
            <figcaption>
              {chart.title}
              {chart.unit !== '' && <span className={classes.quiet}> in {chart.unit}</span>}
            </figcaption>
            <div role="img" aria-label={chartText(chart)}>
              <LineChart
                h={170}
                data={chart.points}
                dataKey="at"
                series={chart.lines}
                curveType="linear"
                withDots={false}
                withTooltip
                withLegend={chart.lines.length > 1}
                legendProps={{ verticalAlign: 'bottom', height: 32 }}
                lineChartProps={{ accessibilityLayer: false }}
                lineProps={{ isAnimationActive: false }}
                gridColor="var(--loggia-line)"
                textColor="var(--loggia-muted)"
                strokeWidth={1.8}
                xAxisProps={{ type: 'number', scale: 'time', domain: ['dataMin', 'dataMax'], tickFormatter: timeText, minTickGap: 40 }}
                yAxisProps={{ width: 44, domain: chart.unit === '%' ? [0, 100] : [0, 'auto'], allowDecimals: chart.unit === 'GiB' }}
                tooltipProps={{ labelFormatter: timeText }}
              />
            </div>
          </figure>
        ))}
      </div>
    </div>
  );
}

/** Nothing where the chart asks for a label of no point. */
function timeText(at: unknown): string {
  const time = typeof at === 'number' ? at : Number.NaN;
  return Number.isFinite(time) ? TIME.format(time) : '';
}
