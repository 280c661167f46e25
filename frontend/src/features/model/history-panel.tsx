import { Group, Select, Skeleton } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { DifferenceTable } from '@/components/difference-table';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { ShowMore } from '@/components/show-more';
import type { Deployment, HistoryEntry, ModelDetail } from '@/lib/api/types';
import { configurationDifferences } from '@/lib/configuration';
import { historyQuery } from '@/lib/deployment';
import classes from './history-panel.module.css';
import { Revision } from './revision';

/** The revisions, newest first, and the comparison of any two. */
export function HistoryPanel({ model, deployment }: { model: ModelDetail; deployment: Deployment }) {
  const history = useInfiniteQuery(historyQuery(model.id));

  if (history.error) return <ProblemAlert problem={history.error} onRetry={() => void history.refetch()} />;
  if (history.isPending) return <Skeleton height={320} radius="lg" />;
  const entries = history.data;
  // What a revision changed shows beside the one before, which the last one of a page lacks.
  const shown = history.hasNextPage ? entries.slice(0, -1) : entries;

  return (
    <>
      <Panel title="Revisions" description="Each one is complete and never changes." flush>
        <ol className={classes.revisions}>
          {shown.map((entry, index) => (
            <Revision key={entry.revision} entry={entry} previous={entries[index + 1]} deployment={deployment} />
          ))}
        </ol>
        <ShowMore list={history}>Show earlier revisions</ShowMore>
      </Panel>
      {entries.length > 1 && <Comparison entries={entries} />}
    </>
  );
}

function Comparison({ entries }: { entries: HistoryEntry[] }) {
  const newest = entries[0]?.revision ?? 0;
  const [chosen, setChosen] = useState<{ before: number; after: number } | null>(null);
  const { before, after } = chosen ?? { before: newest - 1, after: newest };
  const find = (wanted: number) => entries.find(({ revision }) => revision === wanted);
  const from = find(before);
  const to = find(after);
  const options = entries.map(({ revision }) => ({ value: String(revision), label: `Revision ${revision}` }));
  const differences = from && to ? configurationDifferences(from.configuration, to.configuration) : [];

  return (
    <Panel title="Compare revisions">
      <Group gap="sm" mb="md">
        <Select
          aria-label="Before"
          w={150}
          allowDeselect={false}
          data={options}
          value={String(before)}
          onChange={(value) => setChosen({ before: Number(value), after })}
        />
        <span className={classes.with}>with</span>
        <Select
          aria-label="After"
          w={150}
          allowDeselect={false}
          data={options}
          value={String(after)}
          onChange={(value) => setChosen({ before, after: Number(value) })}
        />
      </Group>
      {differences.length === 0 ? (
        <p className={classes.same}>The configurations are the same.</p>
      ) : (
        <DifferenceTable differences={differences} before={`Revision ${before}`} after={`Revision ${after}`} />
      )}
    </Panel>
  );
}
