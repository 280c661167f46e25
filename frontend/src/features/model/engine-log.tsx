import { Button, Group, Select, Skeleton } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { LogLines } from '@/components/log-lines';
import { ProblemAlert } from '@/components/problem-alert';
import type { EngineLog as EngineLogAnswer } from '@/lib/api/types';
import { formatRelative } from '@/lib/format';
import { modelQuery } from '@/lib/queries';
import classes from './deployments-tab.module.css';
import { useLogStream } from './log-stream';

/** What the engines say, replica by replica, also those that have gone. */
export function EngineLog({ modelId }: { modelId: string }) {
  const [opened, setOpened] = useState(false);
  return (
    <div>
      <Button variant="default" size="xs" aria-expanded={opened} onClick={() => setOpened(!opened)}>
        {opened ? 'Hide engine logs' : 'Show engine logs'}
      </Button>
      {opened && (
        <div className={classes.log}>
          <Logs modelId={modelId} />
        </div>
      )}
    </div>
  );
}

function Logs({ modelId }: { modelId: string }) {
  const [chosen, setChosen] = useState<string | null>(null);
  const kept = useQuery(modelQuery<EngineLogAnswer>(modelId, 'deployment/logs'));
  const { lines, connected } = useLogStream(modelId, chosen ?? kept.data?.replica ?? null);
  const [now] = useState(() => Date.now());

  if (kept.data === undefined) {
    return kept.error ? <ProblemAlert problem={kept.error} onRetry={() => void kept.refetch()} /> : <Skeleton height={280} />;
  }
  const { replicas, replica } = kept.data;
  return (
    <>
      <Group gap="sm" mb="sm" align="flex-end">
        {replicas.length > 0 && (
          <Select
            label="Replica"
            w={360}
            maw="100%"
            allowDeselect={false}
            data={replicas.map(({ id, revision, lastAt }) => ({
              value: id,
              label: `${id.slice(0, 8)} · revision ${revision} · last line ${formatRelative(lastAt, now)}`,
            }))}
            value={chosen ?? replica}
            onChange={setChosen}
          />
        )}
        <span className={classes.follows} role="status">
          {connected ? 'New lines appear as they come.' : 'Connecting …'}
        </span>
      </Group>
      <LogLines lines={lines} label="Engine log" follow />
    </>
  );
}
