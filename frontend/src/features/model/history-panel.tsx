import { Button, Group, Menu, NumberInput, Skeleton } from '@mantine/core';
import { IconDownload } from '@tabler/icons-react';
import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { DifferenceTable } from '@/components/difference-table';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { ShowMore } from '@/components/show-more';
import type { Deployment, ModelDetail } from '@/lib/api/types';
import { configurationDifferences } from '@/lib/configuration';
import { comparisonQuery, historyQuery } from '@/lib/deployment';
import classes from './history-panel.module.css';
import { Revision } from './revision';

/** The revisions, newest first, the comparison of any two, and the whole as a file. */
export function HistoryPanel({ model, deployment }: { model: ModelDetail; deployment: Deployment }) {
  const history = useInfiniteQuery(historyQuery(model.id));

  if (history.error) return <ProblemAlert problem={history.error} onRetry={() => void history.refetch()} />;
  if (history.isPending) return <Skeleton height={320} radius="lg" />;
  const entries = history.data;
  const newest = entries[0]?.revision ?? 0;

  return (
    <>
      <Panel
        title="Revisions"
        description="Each one is complete and never changes."
        actions={<ExportMenu modelId={model.id} />}
        flush
      >
        <ol className={classes.revisions}>
          {entries.map((entry) => (
            <Revision key={entry.revision} entry={entry} model={model} deployment={deployment} />
          ))}
        </ol>
        <ShowMore list={history}>Show earlier revisions</ShowMore>
      </Panel>
      {newest > 1 && <Comparison modelId={model.id} newest={newest} />}
    </>
  );
}

function ExportMenu({ modelId }: { modelId: string }) {
  const path = `/api/models/${modelId}/deployment/history/export`;
  return (
    <Menu>
      <Menu.Target>
        <Button variant="default" size="xs" leftSection={<IconDownload size={16} aria-hidden />}>
          Export
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Item component="a" href={`${path}?format=json`} download="history.json">
          As JSON
        </Menu.Item>
        <Menu.Item component="a" href={`${path}?format=csv`} download="history.csv">
          As CSV, for a spreadsheet
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

function Comparison({ modelId, newest }: { modelId: string; newest: number }) {
  const [chosen, setChosen] = useState<{ before: number; after: number } | null>(null);
  const { before, after } = chosen ?? { before: newest - 1, after: newest };
  const comparison = useQuery(comparisonQuery(modelId, before, after));
  const differences = comparison.data
    ? configurationDifferences(comparison.data.before.configuration, comparison.data.after.configuration)
    : [];
  const version = comparison.data?.changes.find(({ field }) => field === 'modelVersion');
  const choose = (part: Partial<{ before: number; after: number }>) => setChosen({ before, after, ...part });

  return (
    <Panel title="Compare revisions">
      <Group gap="sm" mb="md">
        <RevisionNumber label="Before" value={before} newest={newest} onChange={(value) => choose({ before: value })} />
        <span className={classes.with}>with</span>
        <RevisionNumber label="After" value={after} newest={newest} onChange={(value) => choose({ after: value })} />
      </Group>
      {comparison.isPending ? (
        <Skeleton height={90} />
      ) : comparison.error ? (
        <ProblemAlert problem={comparison.error} onRetry={() => void comparison.refetch()} />
      ) : differences.length === 0 && version === undefined ? (
        <p className={classes.same}>The configurations are the same.</p>
      ) : (
        <DifferenceTable
          differences={[
            ...(version === undefined
              ? []
              : [{ path: version.field, label: 'Model version', before: String(version.before), after: String(version.after) }]),
            ...differences,
          ]}
          before={`Revision ${before}`}
          after={`Revision ${after}`}
        />
      )}
    </Panel>
  );
}

interface RevisionNumberProps {
  label: string;
  value: number;
  newest: number;
  onChange: (value: number) => void;
}

function RevisionNumber({ label, value, newest, onChange }: RevisionNumberProps) {
  return (
    <NumberInput
      aria-label={label}
      w={150}
      prefix="Revision "
      min={1}
      max={newest}
      clampBehavior="strict"
      allowDecimal={false}
      value={value}
      onChange={(typed) => {
        if (typeof typed === 'number' && typed >= 1 && typed <= newest) onChange(typed);
      }}
    />
  );
}
