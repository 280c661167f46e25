import { Button, ScrollArea } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useQueryClient } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { lazy, Suspense } from 'react';
import { ActionButton } from '@/components/action-button';
import { ConfirmButton } from '@/components/confirm-button';
import { Facts, type Fact } from '@/components/facts';
import { Panel } from '@/components/panel';
import { RelativeTime } from '@/components/relative-time';
import { StateBadge } from '@/components/state-badge';
import type { Server } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';
import { actorText } from '@/lib/event-text';
import { formatNumber } from '@/lib/format';
import { keys } from '@/lib/query-keys';
import { DrainDialog } from './drain-dialog';
import { ServerDialog } from './server-dialog';
import { capacityText, requestsText } from './servers';
import classes from './servers-page.module.css';

const LoadCharts = lazy(() => import('./load-charts'));

interface ServerPanelProps {
  server: Server;
  isAdmin: boolean;
  mayDrain: boolean;
}

/** One server: what it has, how it is, what runs there, and what can be done with it. */
export function ServerPanel({ server, isAdmin, mayDrain }: ServerPanelProps) {
  const [charts, { toggle }] = useDisclosure(false);
  return (
    <Panel
      title={
        <span className={classes.title}>
          {server.name}
          <StateBadge state={server.state} />
        </span>
      }
      description={capacityText(server)}
      actions={server.registration !== null && <ServerActions server={server} isAdmin={isAdmin} mayDrain={mayDrain} />}
    >
      <div className={classes.content}>
        {server.state !== 'ready' && (
          <p className={classes.reason} data-state={server.state} role="status">
            {server.reason ?? (server.state === 'draining' ? 'It takes no new replicas.' : 'It does not answer.')}
          </p>
        )}
        <Facts columns={3} facts={factsOf(server)} />
        {server.gpus.length > 0 && <GpuTable server={server} />}
        <ReplicaTable server={server} />
        <div>
          <Button variant="default" size="xs" aria-expanded={charts} onClick={toggle}>
            {charts ? 'Hide the load' : 'Show the load over time'}
          </Button>
        </div>
        {charts && (
          <Suspense fallback={<p className={classes.quiet}>The charts are being loaded.</p>}>
            <LoadCharts name={server.name} />
          </Suspense>
        )}
      </div>
    </Panel>
  );
}

function factsOf(server: Server): Fact[] {
  const { registration } = server;
  const engines = server.engines.map(({ name, version }) => `${name} ${version}`).join(', ');
  const facts: (Fact | null)[] = [
    { label: 'Engines', value: engines === '' ? 'none installed yet' : engines },
    server.cpuPercent === null ? null : { label: 'Processor', value: `${formatNumber(Math.round(server.cpuPercent))} % busy` },
    server.memoryUsedGib === null
      ? null
      : { label: 'Memory in use', value: `${formatNumber(server.memoryUsedGib)} of ${formatNumber(server.memoryGib ?? 0)} GiB` },
    server.memoryPromisedGib === null ? null : { label: 'Promised to replicas', value: `${formatNumber(server.memoryPromisedGib)} GiB` },
    server.bounds === null ? null : { label: 'Bounds', value: server.bounds },
    server.driver === null ? null : { label: 'GPU driver', value: server.driver },
  ];
  if (registration !== null) {
    facts.push(
      { label: 'Address', value: registration.address, mono: true },
      registration.grpcAddress === '' ? null : { label: 'gRPC address', value: registration.grpcAddress, mono: true },
      { label: 'Pool', value: registration.pool },
      { label: 'Key', value: registration.hasCredentials ? 'stored, never shown' : 'none needed' },
      { label: 'Registered by', value: actorText(registration.registeredBy) },
    );
  }
  if (server.checkedAt !== null) facts.push({ label: 'Last look', value: <RelativeTime time={server.checkedAt} /> });
  return facts.filter((fact) => fact !== null);
}

function GpuTable({ server }: { server: Server }) {
  const amount = (value: number | null | undefined, unit: string) =>
    value === null || value === undefined ? '–' : `${formatNumber(value)} ${unit}`;
  return (
    <div>
      <h3 className={classes.heading}>GPUs</h3>
      <ScrollArea type="auto" viewportProps={{ tabIndex: 0, role: 'region', 'aria-label': `GPUs of ${server.name}` }}>
        <table className={classes.table}>
          <thead>
            <tr>
              <th scope="col">GPU</th>
              <th scope="col">Busy</th>
              <th scope="col">Memory in use</th>
              <th scope="col">Promised</th>
              <th scope="col">Temperature</th>
            </tr>
          </thead>
          <tbody>
            {server.gpus.map((gpu) => (
              <tr key={gpu.index}>
                <td>
                  {gpu.index}: {gpu.name}
                </td>
                <td>{amount(gpu.utilizationPercent, '%')}</td>
                <td>
                  {amount(gpu.memoryUsedGib, 'GiB')} of {formatNumber(gpu.memoryGib)} GiB
                </td>
                <td>{amount(gpu.promisedGib, 'GiB')}</td>
                <td>{amount(gpu.temperatureCelsius, '°C')}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </ScrollArea>
    </div>
  );
}

function ReplicaTable({ server }: { server: Server }) {
  if (server.replicas.length === 0) return <p className={classes.quiet}>Nothing runs here.</p>;
  return (
    <div>
      <h3 className={classes.heading}>What runs here</h3>
      <ScrollArea type="auto" viewportProps={{ tabIndex: 0, role: 'region', 'aria-label': `Replicas on ${server.name}` }}>
        <table className={classes.table}>
          <thead>
            <tr>
              <th scope="col">Model</th>
              <th scope="col">State</th>
              <th scope="col">Requests</th>
              <th scope="col" className={classes.wideOnly}>
                Has
              </th>
            </tr>
          </thead>
          <tbody>
            {server.replicas.map((replica) => (
              <tr key={replica.id}>
                <td>
                  <Link to="/models/$modelId" params={{ modelId: replica.modelId }} search={{ tab: 'deployments' }} className={classes.link}>
                    {replica.modelName ?? 'a deleted model'}
                  </Link>{' '}
                  <span className={classes.quiet}>revision {replica.revision}</span>
                </td>
                <td>
                  <StateBadge state={replica.state} />
                </td>
                <td>{requestsText(replica) ?? <span className={classes.quiet}>not read yet</span>}</td>
                <td className={classes.wideOnly}>{shareOf(replica)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </ScrollArea>
    </div>
  );
}

function shareOf({ memoryGib, gpus }: Server['replicas'][number]): string {
  const parts = gpus.map(({ index, memoryGib: part, exclusive }) =>
    exclusive ? `GPU ${index} alone` : `${formatNumber(part)} GiB of GPU ${index}`,
  );
  if (memoryGib > 0) parts.push(`${formatNumber(memoryGib)} GiB memory`);
  return parts.length === 0 ? '–' : parts.join(', ');
}

function ServerActions({ server, isAdmin, mayDrain }: ServerPanelProps) {
  const queryClient = useQueryClient();
  const [changing, change] = useDisclosure(false);
  const [draining, drain] = useDisclosure(false);
  const path = `/api/servers/${encodeURIComponent(server.name)}`;
  const refresh = () => void queryClient.invalidateQueries({ queryKey: keys.servers });
  const resume = useCommand({
    request: () => ({ method: 'DELETE', path: `${path}/drain` }),
    accepted: `${server.name} takes replicas again`,
    onAccepted: refresh,
  });
  const remove = useCommand({
    request: () => ({ method: 'DELETE', path }),
    accepted: `${server.name} is removed`,
    onAccepted: refresh,
  });
  return (
    <div className={classes.actions}>
      {mayDrain &&
        (server.state === 'draining' ? (
          <Button variant="default" size="xs" loading={resume.isPending} onClick={() => resume.mutate()}>
            Use again
          </Button>
        ) : (
          <ActionButton variant="default" size="xs" onClick={drain.open}>
            Drain
          </ActionButton>
        ))}
      {isAdmin && (
        <>
          <Button variant="default" size="xs" onClick={change.open}>
            Change
          </Button>
          <ConfirmButton
            variant="subtle"
            color="red"
            size="xs"
            aria-label={`Remove ${server.name}`}
            disabledReason={server.removable ? null : 'Replicas run there: drain the server first.'}
            confirmation={{
              title: `Remove ${server.name}?`,
              message: 'Its key is forgotten, and deployments cannot name it any more. What runs on the server itself stays as it is.',
              confirmLabel: 'Remove the server',
              danger: true,
              onConfirm: () => remove.mutate(),
            }}
          >
            Remove
          </ConfirmButton>
        </>
      )}
      {changing && <ServerDialog server={server} onClose={change.close} />}
      {draining && <DrainDialog server={server} onClose={drain.close} />}
    </div>
  );
}
