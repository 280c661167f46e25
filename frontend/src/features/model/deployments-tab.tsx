import { Alert, Button, Group, Skeleton, Table, Text } from '@mantine/core';
import { IconAlertTriangle } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { ActionButton } from '@/components/action-button';
import { EmptyState } from '@/components/empty-state';
import { LogLines } from '@/components/log-lines';
import { useModelCommands } from '@/components/model-commands';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { RelativeTime } from '@/components/relative-time';
import { StateBadge } from '@/components/state-badge';
import type { Deployment, ModelDetail } from '@/lib/api/types';
import { refusal } from '@/lib/actions';
import { deploymentQuery } from '@/lib/deployment';
import { spellOut } from '@/lib/event-text';
import { replicasText } from '@/lib/format';
import { useTelemetryLog } from '@/lib/live';
import { modelQuery } from '@/lib/queries';
import { AdaptersPanel } from './adapters-panel';
import { DeployProgress } from './deploy-progress';
import classes from './deployments-tab.module.css';
import { HistoryPanel } from './history-panel';
import { mergeLog } from './log-merge';
import pageClasses from './model-page.module.css';

/** What serves now, and how it came to be so. */
export function DeploymentsTab({ model }: { model: ModelDetail }) {
  const deployment = useQuery(deploymentQuery(model.id));
  const navigate = useNavigate();

  if (deployment.error) return <ProblemAlert problem={deployment.error} onRetry={() => void deployment.refetch()} />;
  if (deployment.isPending) {
    return (
      <div className={pageClasses.stack}>
        <Skeleton height={230} radius="lg" />
        <Skeleton height={320} radius="lg" />
      </div>
    );
  }
  if (deployment.data === null) {
    return (
      <Panel>
        <EmptyState
          title="Never deployed"
          action={
            <ActionButton
              disabledReason={refusal(model.actions, 'deploy')}
              onClick={() => void navigate({ to: '/models/$modelId/deploy', params: { modelId: model.id } })}
            >
              Deploy {model.name}
            </ActionButton>
          }
        >
          Every deployment, redeployment and rollback is kept here as a revision, with who asked for it and why.
        </EmptyState>
      </Panel>
    );
  }
  return (
    <div className={pageClasses.stack}>
      <CurrentPanel model={model} deployment={deployment.data} />
      {model.kind === 'base' && <AdaptersPanel model={model} />}
      <HistoryPanel model={model} deployment={deployment.data} />
    </div>
  );
}

function CurrentPanel({ model, deployment }: { model: ModelDetail; deployment: Deployment }) {
  const { start } = useModelCommands(model);
  const bringingUp = deployment.state === 'deploying' || deployment.state === 'optimizing';
  const ended = deployment.state === 'stopped' || (deployment.state === 'failed' && deployment.servingRevision === null);

  return (
    <Panel
      title={
        <span className={classes.title}>
          Current state <StateBadge state={deployment.state} />
        </span>
      }
      description={describe(deployment)}
      actions={
        ended ? (
          <ActionButton size="xs" variant="default" loading={start.isPending} onClick={() => start.mutate()}>
            Start again
          </ActionButton>
        ) : undefined
      }
    >
      <div className={classes.current}>
        {bringingUp && <DeployProgress deployment={deployment} />}
        {deployment.failure !== null && deployment.state === 'failed' && (
          <Alert color="red" icon={<IconAlertTriangle size={20} aria-hidden />} title={deployment.failure.reason}>
            <p className={classes.remedy}>{deployment.failure.remedy}</p>
            {deployment.failure.logTail.length > 0 && (
              <LogLines lines={deployment.failure.logTail} label="Last lines of the engine" />
            )}
          </Alert>
        )}
        {deployment.replicas.length > 0 && <Replicas deployment={deployment} />}
        <EngineLog modelId={model.id} />
      </div>
    </Panel>
  );
}

function describe({ state, desiredRevision, servingRevision, replicasReady, replicasWanted }: Deployment): string {
  const desired = desiredRevision ?? '—';
  switch (state) {
    case 'deployed':
      return replicasWanted === 0
        ? `Revision ${servingRevision ?? desired} is scaled to zero; the next request starts an engine.`
        : `Revision ${servingRevision ?? desired} serves all requests: ${replicasText({ ready: replicasReady, wanted: replicasWanted })}.`;
    case 'optimizing':
    case 'deploying':
      return servingRevision === null
        ? `Revision ${desired} is being brought up.`
        : `Revision ${desired} is being brought up. Revision ${servingRevision} goes on serving until it answers.`;
    case 'failed':
      return servingRevision === null
        ? `Revision ${desired} failed; nothing serves.`
        : `Revision ${desired} failed. Revision ${servingRevision} goes on serving.`;
    case 'stopping':
      return 'Running requests are finished, then the engine ends.';
    case 'stopped':
      return 'Nothing runs. The configuration is kept.';
  }
}

function Replicas({ deployment }: { deployment: Deployment }) {
  return (
    <Table.ScrollContainer minWidth={480} type="native" tabIndex={0} role="region" aria-label="Replicas">
      <Table className={classes.table} verticalSpacing={8}>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Replica</Table.Th>
            <Table.Th>Revision</Table.Th>
            <Table.Th>State</Table.Th>
            <Table.Th>Address</Table.Th>
            <Table.Th>Started</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {deployment.replicas.map((replica) => (
            <Table.Tr key={replica.id}>
              <Table.Td>
                <code title={replica.id}>{replica.id.slice(0, 8)}</code>
              </Table.Td>
              <Table.Td>{replica.revision}</Table.Td>
              <Table.Td>
                {spellOut(replica.state)}
                {replica.warnings.map((warning) => (
                  <Text key={warning} size="sm" c="dimmed">
                    {warning}
                  </Text>
                ))}
              </Table.Td>
              <Table.Td>{replica.endpoint === null ? '—' : <code>{replica.endpoint}</code>}</Table.Td>
              <Table.Td>{replica.startedAt === null ? '—' : <RelativeTime time={replica.startedAt} />}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}

function EngineLog({ modelId }: { modelId: string }) {
  const [opened, setOpened] = useState(false);
  const stored = useQuery({
    ...modelQuery<{ lines: string[] }>(modelId, 'deployment/logs'),
    enabled: opened,
  });
  const live = useTelemetryLog(modelId);

  return (
    <div>
      <Group gap="sm">
        <Button variant="default" size="xs" aria-expanded={opened} onClick={() => setOpened(!opened)}>
          {opened ? 'Hide engine log' : 'Show engine log'}
        </Button>
      </Group>
      {opened && (
        <div className={classes.log}>
          {stored.error && <ProblemAlert problem={stored.error} onRetry={() => void stored.refetch()} mb="sm" />}
          {stored.isPending ? (
            <Skeleton height={280} />
          ) : (
            <LogLines lines={mergeLog(stored.data?.lines ?? [], live)} label="Engine log" follow />
          )}
        </div>
      )}
    </div>
  );
}
