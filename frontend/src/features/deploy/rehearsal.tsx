import { Skeleton } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Facts } from '@/components/facts';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { ReportChecks, reportSummary } from '@/components/report-checks';
import type { CostEstimate, DeployConfiguration, Deployment, Rehearsal } from '@/lib/api/types';
import { costText } from '@/lib/cost';
import { costQuery, rehearsalQuery } from '@/lib/deployment';
import { formatBytes, formatNumber } from '@/lib/format';
import classes from './steps.module.css';

interface RehearsalProps {
  modelId: string;
  configuration: DeployConfiguration;
  deployment: Deployment | null;
}

/** The dry run: what speaks for and against it, what it needs and costs, and the events that would follow. */
export function RehearsalPanels({ modelId, configuration, deployment }: RehearsalProps) {
  const rehearsal = useQuery(rehearsalQuery(modelId, configuration, deployment?.version));
  const cost = useQuery(costQuery(modelId, configuration));

  if (rehearsal.error) return <ProblemAlert problem={rehearsal.error} onRetry={() => void rehearsal.refetch()} />;
  if (rehearsal.isPending) {
    return (
      <div aria-busy aria-label="Checking the configuration">
        <Skeleton height={260} radius="lg" />
      </div>
    );
  }
  // The terms stand below, with their own checkbox.
  const checks = rehearsal.data.checks.filter(({ id }) => id !== 'terms');
  return (
    <>
      <Panel title="Checks" description={`Nothing has been deployed or written yet. ${reportSummary(checks)}.`}>
        <ReportChecks checks={checks} />
      </Panel>
      <div className={classes.figures}>
        <Panel title="Memory" description="Estimated for one replica at the chosen context.">
          <Memory memory={rehearsal.data.memory} />
        </Panel>
        <Panel title="Cost" description="Estimated by the prices in force.">
          <Cost cost={cost.data ?? null} pending={cost.isPending} />
        </Panel>
      </div>
      {rehearsal.data.allowed && (
        <Panel title="What follows" description="The events that deploying writes at once, and those that the deploy worker reports.">
          <Events rehearsal={rehearsal.data} />
        </Panel>
      )}
    </>
  );
}

function Memory({ memory }: { memory: Rehearsal['memory'] }) {
  if (!memory) return <p className={classes.message}>The model&apos;s files do not say how much it needs.</p>;
  const requests = memory.requests === 1 ? 'one request' : `${formatNumber(memory.requests)} requests`;
  return (
    <Facts
      columns={1}
      facts={[
        { label: 'Together', value: formatBytes(memory.totalBytes) },
        { label: `Weights (${memory.dtype})`, value: formatBytes(memory.weightsBytes) },
        { label: `Cache of ${requests} of ${formatNumber(memory.contextTokens)} tokens`, value: formatBytes(memory.cacheBytes) },
        { label: 'Engine', value: formatBytes(memory.engineBytes) },
      ]}
    />
  );
}

function Cost({ cost, pending }: { cost: CostEstimate | null; pending: boolean }) {
  if (pending) return <Skeleton height={90} />;
  if (cost === null || cost.currency === null) {
    return <p className={classes.message}>Nobody has set prices, so there is nothing to estimate with.</p>;
  }
  const { currency } = cost;
  return (
    <Facts
      columns={1}
      facts={[
        { label: 'An hour', value: costText(cost.perHour, currency) },
        { label: 'A month of 730 hours', value: costText(cost.perMonth, currency) },
        { label: 'A million tokens in', value: costText(cost.perMillionInput, currency) },
        { label: 'A million tokens out', value: costText(cost.perMillionOutput, currency) },
      ]}
    />
  );
}

function Events({ rehearsal }: { rehearsal: Rehearsal }) {
  return (
    <ul className={classes.events}>
      {rehearsal.events.map(({ type }) => (
        <li key={type} className={classes.event}>
          <span className={classes.eventType}>{type}</span>
          <span className={classes.eventMeaning}>At once.</span>
        </li>
      ))}
      {rehearsal.expected.map(({ type, count, meaning }) => (
        <li key={type} className={classes.event}>
          <span className={classes.eventType}>
            {type}
            {count > 1 && ` × ${count}`}
          </span>
          <span className={classes.eventMeaning}>{meaning}</span>
        </li>
      ))}
    </ul>
  );
}
