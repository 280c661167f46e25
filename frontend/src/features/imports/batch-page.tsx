import { Progress, SegmentedControl, Skeleton } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { useWindowVirtualizer } from '@tanstack/react-virtual';
import { useLayoutEffect, useRef, useState } from 'react';
import { ActionButton } from '@/components/action-button';
import { EmptyState } from '@/components/empty-state';
import { LinkButton } from '@/components/link-button';
import { PageHeader } from '@/components/page-header';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { RelativeTime } from '@/components/relative-time';
import { ApiProblem, request } from '@/lib/api/client';
import type { Batch, BatchRow } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';
import { actorText } from '@/lib/event-text';
import { formatNumber } from '@/lib/format';
import { atLeast } from '@/lib/freshness';
import { keys } from '@/lib/query-keys';
import { batchCounts, GROUPS, groupOf, type Group } from './batch';
import classes from './batch-page.module.css';
import { BatchRowView } from './batch-row';

const route = getRouteApi('/shell/imports/$batchId');
const ROW_HEIGHT = 60;
const OVERSCAN = 10;

/** A batch of imports, a row for each model. */
export default function BatchPage() {
  const { batchId } = route.useParams();
  const batch = useQuery({
    queryKey: keys.batch(batchId),
    queryFn: ({ signal }) =>
      request<Batch>('GET', `/api/imports/batches/${batchId}`, { query: { atLeast: atLeast() }, signal }),
  });

  if (batch.data) return <LoadedBatch batch={batch.data} />;
  if (batch.error instanceof ApiProblem && batch.error.status === 404) {
    return (
      <EmptyState title="This batch does not exist" action={<LinkButton to="/">Go to the gallery</LinkButton>}>
        The address is mistyped, or it was made on another server.
      </EmptyState>
    );
  }
  if (batch.error) return <ProblemAlert problem={batch.error} onRetry={() => void batch.refetch()} />;
  return (
    <div aria-busy aria-label="Loading the batch">
      <Skeleton height={34} width={320} maw="100%" mb={12} />
      <Skeleton height={18} width={460} maw="100%" mb={30} />
      <Skeleton height={420} radius="lg" />
    </div>
  );
}

function LoadedBatch({ batch }: { batch: Batch }) {
  const [group, setGroup] = useState<Group | 'all'>('all');
  const counts = batchCounts(batch);
  const retriable = batch.rows.filter((row) => row.state === 'import_failed' && row.retriable).length;
  const rows = group === 'all' ? batch.rows : batch.rows.filter((row) => groupOf(row.state) === group);
  const total = batch.rows.length;
  const retry = useCommand({
    request: () => ({ method: 'POST', path: `/api/imports/batches/${batch.id}/retry` }),
    accepted: retriable === 1 ? 'The failed import starts again' : `${retriable} failed imports start again`,
  });

  return (
    <>
      <PageHeader
        title={total === 1 ? 'Import of 1 model' : `Import of ${formatNumber(total)} models`}
        parent={
          <Link to="/" className={classes.parent}>
            Gallery
          </Link>
        }
        description={
          <span className={classes.origin}>
            From <span className={classes.address}>{batch.address}</span>, begun by {actorText(batch.requestedBy)}{' '}
            <RelativeTime time={batch.requestedAt} />
          </span>
        }
        actions={
          <ActionButton
            variant={counts.failed > 0 ? 'filled' : 'default'}
            disabledReason={
              counts.failed === 0
                ? 'No import of this batch has failed.'
                : retriable === 0
                  ? 'The failed imports cannot be started again as they are. Open a model to see why.'
                  : null
            }
            loading={retry.isPending}
            onClick={() => retry.mutate()}
          >
            Retry failed
          </ActionButton>
        }
      />
      <div className={classes.summary} role="status">
        <Progress.Root size={8} aria-hidden>
          <Progress.Section value={(counts.ready / total) * 100} color="verdigris" />
          <Progress.Section value={(counts.failed / total) * 100} color="red" />
        </Progress.Root>
        <p className={classes.words}>{summary(counts)}</p>
      </div>
      <Panel
        title="Models"
        actions={
          <SegmentedControl
            aria-label="Which models are shown"
            size="xs"
            data={[
              { value: 'all', label: `All ${formatNumber(total)}` },
              ...GROUPS.filter(({ id }) => id !== 'deleted' || counts.deleted > 0).map(({ id, title }) => ({ value: id, label: `${title} ${formatNumber(counts[id])}` })),
            ]}
            value={group}
            onChange={(value) => setGroup(value as Group | 'all')}
          />
        }
        flush
      >
        {rows.length === 0 ? <p className={classes.none}>None of them now.</p> : <Rows rows={rows} />}
      </Panel>
    </>
  );
}

function Rows({ rows }: { rows: BatchRow[] }) {
  const list = useRef<HTMLUListElement>(null);
  const [margin, setMargin] = useState(0);
  useLayoutEffect(() => setMargin(list.current?.offsetTop ?? 0), []);
  const virtual = useWindowVirtualizer({
    count: rows.length,
    estimateSize: () => ROW_HEIGHT,
    overscan: OVERSCAN,
    scrollMargin: margin,
  });
  return (
    <ul ref={list} className={classes.list} style={{ height: virtual.getTotalSize() }}>
      {virtual.getVirtualItems().map(({ index, start }) => {
        const row = rows[index];
        return row === undefined ? null : (
          <li
            key={row.id}
            className={classes.row}
            style={{ height: ROW_HEIGHT, transform: `translateY(${start - margin}px)` }}
            aria-setsize={rows.length}
            aria-posinset={index + 1}
          >
            <BatchRowView row={row} />
          </li>
        );
      })}
    </ul>
  );
}

function summary(counts: Record<Group, number>): string {
  const parts = GROUPS.filter(({ id }) => counts[id] > 0).map(({ id, words }) => `${formatNumber(counts[id])} ${words}`);
  const over = counts.running === 0;
  if (over && counts.failed > 0 && counts.ready > 0) return `Partly done: ${parts.join(', ')}.`;
  return `${over ? 'Done: ' : ''}${parts.join(', ')}.`;
}
