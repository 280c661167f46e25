import { Alert, Table, Text } from '@mantine/core';
import { IconAlertTriangle } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { ActionButton } from '@/components/action-button';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { RelativeTime } from '@/components/relative-time';
import { StateBadge } from '@/components/state-badge';
import type { AdapterList, HeldAdapter, ModelDetail } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';
import { modelQuery } from '@/lib/queries';
import classes from './adapters-panel.module.css';

/** The adapters of a base model: which answer beside it now, and which could. Nothing where it has none. */
export function AdaptersPanel({ model }: { model: ModelDetail }) {
  const adapters = useQuery(modelQuery<AdapterList>(model.id, 'deployment/adapters'));

  if (adapters.error) return <ProblemAlert problem={adapters.error} onRetry={() => void adapters.refetch()} />;
  if (!adapters.data || adapters.data.items.length === 0) return null;
  return (
    <Panel
      title="Adapters"
      description={`Loaded adapters answer by their own names on the replicas of ${model.name}, with its keys or their own.`}
    >
      <Table.ScrollContainer minWidth={520} type="native" tabIndex={0} role="region" aria-label="Adapters">
        <Table className={classes.table} verticalSpacing={10}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Adapter</Table.Th>
              <Table.Th>Version</Table.Th>
              <Table.Th>Rank</Table.Th>
              <Table.Th>State</Table.Th>
              <Table.Th className={classes.action}>
                <span className={classes.hidden}>Actions</span>
              </Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {adapters.data.items.map((adapter) => (
              <AdapterRow key={adapter.modelId} base={model} adapter={adapter} mayChange={adapters.data.mayChange} />
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Panel>
  );
}

interface AdapterRowProps {
  base: ModelDetail;
  adapter: HeldAdapter;
  mayChange: boolean;
}

function AdapterRow({ base, adapter, mayChange }: AdapterRowProps) {
  const path = `/api/models/${base.id}/deployment/adapters/${adapter.modelId}`;
  const load = useCommand({
    modelId: base.id,
    request: () => ({ method: 'PUT', path }),
    accepted: `${adapter.name} is being loaded`,
  });
  const unload = useCommand({
    modelId: base.id,
    request: () => ({ method: 'DELETE', path }),
    accepted: `${adapter.name} is being unloaded`,
  });
  const held = adapter.state === 'loaded' || adapter.state === 'loading';
  const outdated = held && adapter.version !== adapter.loadedVersion;

  return (
    <Table.Tr>
      <Table.Td>
        <Link to="/models/$modelId" params={{ modelId: adapter.modelId }}>
          {adapter.name}
        </Link>
      </Table.Td>
      <Table.Td>
        {adapter.loadedVersion ?? adapter.version ?? '—'}
        {outdated && (
          <Text size="sm" c="dimmed">
            {adapter.version} is newer
          </Text>
        )}
      </Table.Td>
      <Table.Td>{adapter.rank ?? '—'}</Table.Td>
      <Table.Td className={classes.state}>
        {adapter.state === null ? <span className={classes.muted}>Not loaded</span> : <StateBadge state={BADGES[adapter.state]}>{WORDS[adapter.state]}</StateBadge>}
        {adapter.since !== null && adapter.state !== null && (
          <Text size="sm" c="dimmed">
            <RelativeTime time={adapter.since} />
          </Text>
        )}
        {adapter.warnings.map((warning) => (
          <Alert key={warning} color="yellow" variant="light" mt={6} p="xs" icon={<IconAlertTriangle size={18} aria-hidden />}>
            {warning}
          </Alert>
        ))}
        {adapter.failure !== null && (
          <Alert color="red" variant="light" mt={6} p="xs" icon={<IconAlertTriangle size={18} aria-hidden />}>
            {adapter.failure}
          </Alert>
        )}
      </Table.Td>
      <Table.Td className={classes.action}>
        {(!held || outdated) && (
          <ActionButton
            size="xs"
            variant="default"
            loading={load.isPending}
            disabledReason={adapter.state === 'unloading' ? 'It is being unloaded.' : adapter.refusal}
            onClick={() => load.mutate()}
          >
            {outdated ? `Load ${adapter.version ?? ''}` : 'Load'}
          </ActionButton>
        )}
        {held && (
          <ActionButton
            size="xs"
            variant="default"
            loading={unload.isPending}
            disabledReason={mayChange ? null : 'Your role may not unload adapters.'}
            onClick={() => unload.mutate()}
          >
            Unload
          </ActionButton>
        )}
      </Table.Td>
    </Table.Tr>
  );
}

const WORDS = { loading: 'Loading', loaded: 'Loaded', unloading: 'Unloading', failed: 'Could not be loaded' } as const;
const BADGES = { loading: 'deploying', loaded: 'deployed', unloading: 'stopping', failed: 'failed' } as const;
