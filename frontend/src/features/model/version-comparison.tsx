import { Group, Select, Skeleton } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { DifferenceTable } from '@/components/difference-table';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import type { ModelDetail, ModelVersion } from '@/lib/api/types';
import { cardDifferences, fileDifferences } from './version-differences';
import { comparisonQuery } from './versions';
import classes from './versions-tab.module.css';

/** What differs between two versions: fields of the card, and files. */
export function VersionComparisonPanel({ model, versions }: { model: ModelDetail; versions: ModelVersion[] }) {
  const [newest, second] = versions;
  const [chosen, setChosen] = useState<{ before: string; after: string } | null>(null);
  const { before, after } = chosen ?? { before: second?.version ?? '', after: newest?.version ?? '' };
  const comparison = useQuery({ ...comparisonQuery(model.id, before, after), enabled: before !== after });
  const options = versions.map(({ version }) => ({ value: version, label: `Version ${version}` }));
  const card = cardDifferences(comparison.data?.card ?? []);
  const files = fileDifferences(comparison.data?.files ?? []);

  return (
    <Panel title="Compare versions">
      <Group gap="sm" mb="md">
        <Select
          aria-label="Before"
          w={160}
          allowDeselect={false}
          data={options}
          value={before}
          onChange={(value) => value !== null && setChosen({ before: value, after })}
        />
        <span className={classes.with}>with</span>
        <Select
          aria-label="After"
          w={160}
          allowDeselect={false}
          data={options}
          value={after}
          onChange={(value) => value !== null && setChosen({ before, after: value })}
        />
      </Group>
      <ProblemAlert problem={comparison.error} onRetry={() => void comparison.refetch()} />
      {comparison.isLoading && <Skeleton height={120} />}
      {(before === after || (comparison.isSuccess && card.length + files.length === 0)) && (
        <p className={classes.same}>Card and files are the same.</p>
      )}
      {card.length > 0 && (
        <>
          <h3 className={classes.heading}>Card</h3>
          <DifferenceTable differences={card} before={before} after={after} />
        </>
      )}
      {files.length > 0 && (
        <>
          <h3 className={classes.heading}>Files</h3>
          <DifferenceTable differences={files} before={before} after={after} />
        </>
      )}
    </Panel>
  );
}
