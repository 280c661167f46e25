import { Alert, Button, Group, NativeSelect, SegmentedControl, Skeleton } from '@mantine/core';
import { IconDownload, IconInfoCircle } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { lazy, Suspense, useState } from 'react';
import { EmptyState } from '@/components/empty-state';
import { Facts, type Fact } from '@/components/facts';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import type { UsageReport } from '@/lib/api/types';
import { formatNumber } from '@/lib/format';
import { costOf, lastDays, measuresOf, usagePath, usageQuery, type By, type Measure } from './usage';
import { UsageTable } from './usage-table';
import classes from './usage-view.module.css';

// Charts are large, and below what is looked at first.
const UsageChart = lazy(() => import('./usage-chart'));
const RANGES = [7, 30, 90, 365];

interface UsageViewProps {
  /** Of this model alone; else of all. */
  modelId?: string;
}

/** What was used: totals, a chart by day, a table by what the person chooses, and the same as a file. */
export function UsageView({ modelId }: UsageViewProps) {
  const [count, setCount] = useState(30);
  const [by, setBy] = useState<By>(modelId === undefined ? 'model' : 'key');
  const [wanted, setWanted] = useState<Measure['value']>('requests');
  const [now] = useState(() => Date.now());
  const days = lastDays(count, now);
  const told: By[] = by === 'key' && modelId === undefined ? ['model', 'key'] : [by];
  const daily = useQuery(usageQuery(days, ['day'], modelId));
  const parts = useQuery(usageQuery(days, told, modelId));
  const problem = daily.error ?? parts.error;

  return (
    <div className={classes.root}>
      <Group justify="space-between" gap="sm">
        <NativeSelect
          aria-label="Days"
          data={RANGES.map((range) => ({ value: String(range), label: `Last ${range} days` }))}
          value={String(count)}
          onChange={(event) => setCount(Number(event.currentTarget.value))}
        />
        <Button
          component="a"
          variant="default"
          href={usagePath(days, ['day', 'model', 'key'], modelId, '/export')}
          download
          leftSection={<IconDownload size={17} aria-hidden />}
        >
          CSV by day
        </Button>
      </Group>
      {problem && (
        <ProblemAlert
          problem={problem}
          onRetry={() => {
            void daily.refetch();
            void parts.refetch();
          }}
        />
      )}
      {(daily.isPending || parts.isPending) && !problem && (
        <div aria-busy aria-label="Loading usage">
          <Skeleton height={260} radius="lg" mb={20} />
          <Skeleton height={180} radius="lg" />
        </div>
      )}
      {daily.data && parts.data && isEmpty(daily.data) && (
        <EmptyState title="Nothing was used in these days">
          Requests to the endpoint appear here a few seconds after they are answered.
        </EmptyState>
      )}
      {daily.data && parts.data && !isEmpty(daily.data) && (
        <>
          <Overview report={daily.data} days={days} wanted={wanted} onWanted={setWanted} />
          <Panel
            title={by === 'day' ? 'By day' : by === 'model' ? 'By model' : 'By API key'}
            actions={
              <SegmentedControl
                size="xs"
                aria-label="Tell apart by"
                value={by}
                onChange={(value) => setBy(value as By)}
                data={[
                  ...(modelId === undefined ? [{ value: 'model', label: 'Model' }] : []),
                  { value: 'key', label: 'Key' },
                  { value: 'day', label: 'Day' },
                ]}
              />
            }
            flush
          >
            <UsageTable report={parts.data} by={told} />
          </Panel>
        </>
      )}
    </div>
  );
}

interface OverviewProps {
  report: UsageReport;
  days: ReturnType<typeof lastDays>;
  wanted: Measure['value'];
  onWanted: (wanted: Measure['value']) => void;
}

function Overview({ report, days, wanted, onWanted }: OverviewProps) {
  const { total } = report;
  const measures = measuresOf(total);
  const measure = measures.find(({ value }) => value === wanted) ?? measures[0];
  const facts: Fact[] = [
    { label: 'Requests', value: formatNumber(total.requests) },
    { label: 'Tokens in', value: formatNumber(total.inputTokens) },
    { label: 'Tokens out', value: formatNumber(total.outputTokens) },
    { label: 'Replica hours', value: formatNumber(Number(total.replicaHours.toFixed(2))) },
    ...(total.acceleratorSeconds > 0
      ? [{ label: 'GPU seconds', value: formatNumber(Number(total.acceleratorSeconds.toFixed(1))) }]
      : []),
    { label: 'Cost', value: costOf(report) },
  ];
  return (
    <Panel
      title="Together"
      actions={
        <SegmentedControl
          size="xs"
          aria-label="Shown in the chart"
          value={measure?.value ?? 'requests'}
          onChange={(value) => onWanted(value as Measure['value'])}
          data={measures.map(({ value, title }) => ({ value, label: title }))}
        />
      }
    >
      <Facts facts={facts} columns={3} />
      {measure && (
        <div className={classes.chart}>
          <Suspense fallback={<Skeleton height={220} />}>
            <UsageChart days={days} items={report.items} measure={measure} />
          </Suspense>
        </div>
      )}
      {total.estimatedRequests > 0 && (
        <p className={classes.note}>
          Of {formatNumber(total.estimatedRequests)} requests the engine has not told its count, most often because the client left: their
          tokens are those that were seen.
        </p>
      )}
      {report.missingRecords > 0 && (
        <Alert color="yellow" mt="md" icon={<IconInfoCircle size={18} aria-hidden />}>
          Of {formatNumber(report.missingRecords)} answers no usage is known: the broker was away for too long, or has lost them.
        </Alert>
      )}
    </Panel>
  );
}

function isEmpty({ total }: UsageReport): boolean {
  return total.requests === 0 && total.replicaHours === 0;
}
