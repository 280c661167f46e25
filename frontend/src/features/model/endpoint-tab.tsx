import { Alert, Group, Skeleton, Tabs } from '@mantine/core';
import { IconInfoCircle } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate } from '@tanstack/react-router';
import { ActionButton } from '@/components/action-button';
import { CodeBlock } from '@/components/code-block';
import { CopyButton } from '@/components/copy-button';
import { EmptyState } from '@/components/empty-state';
import { useModelCommands } from '@/components/model-commands';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { StateBadge } from '@/components/state-badge';
import type { Deployment, ModelDetail } from '@/lib/api/types';
import { refusal } from '@/lib/actions';
import { deploymentQuery, inTransition } from '@/lib/deployment';
import classes from './endpoint-tab.module.css';
import pageClasses from './model-page.module.css';
import { snippets } from './snippets';

/** Where and how applications call the model. */
export function EndpointTab({ model }: { model: ModelDetail }) {
  const deployment = useQuery(deploymentQuery(model.id));
  if (deployment.error) return <ProblemAlert problem={deployment.error} onRetry={() => void deployment.refetch()} />;
  if (deployment.isPending) {
    return (
      <div className={pageClasses.stack}>
        <Skeleton height={190} radius="lg" />
        <Skeleton height={330} radius="lg" />
      </div>
    );
  }
  if (!deployment.data?.endpoint) return <NoEndpoint model={model} deployment={deployment.data} />;
  return <Endpoint model={model} deployment={deployment.data} endpoint={deployment.data.endpoint} />;
}

interface EndpointProps {
  model: ModelDetail;
  deployment: Deployment;
  endpoint: NonNullable<Deployment['endpoint']>;
}

function Endpoint({ model, deployment, endpoint }: EndpointProps) {
  const serving = deployment.servingRevision !== null;
  return (
    <div className={pageClasses.stack}>
      {!serving && <NotServing model={model} deployment={deployment} />}
      <Panel
        title="Address"
        description="Any OpenAI client works with these two values and a key."
        actions={serving ? <StateBadge state="deployed">{`Revision ${deployment.servingRevision ?? ''} answers`}</StateBadge> : undefined}
      >
        <div className={classes.values}>
          <Value label="Base URL" value={endpoint.baseUrl} />
          <Value label="Model" value={endpoint.model} />
        </div>
      </Panel>
      <Panel
        title="Call it"
        description={
          <>
            Put a key from{' '}
            <Link to="/models/$modelId" params={{ modelId: model.id }} search={{ tab: 'api-keys' }} className={classes.link}>
              API keys
            </Link>{' '}
            into the variable <code>LOGGIA_API_KEY</code>.
          </>
        }
      >
        <Tabs defaultValue="curl" variant="pills" classNames={{ list: classes.languages, tab: classes.language }}>
          <Tabs.List>
            {snippets(endpoint.baseUrl, endpoint.model).map(({ language, title }) => (
              <Tabs.Tab key={language} value={language}>
                {title}
              </Tabs.Tab>
            ))}
          </Tabs.List>
          {snippets(endpoint.baseUrl, endpoint.model).map(({ language, title, code }) => (
            <Tabs.Panel key={language} value={language}>
              <CodeBlock code={code} what={`${title} example`} />
            </Tabs.Panel>
          ))}
        </Tabs>
      </Panel>
    </div>
  );
}

function Value({ label, value }: { label: string; value: string }) {
  return (
    <div>
      <div className={classes.label}>{label}</div>
      <div className={classes.value}>
        <code>{value}</code>
        <CopyButton value={value} what={label} />
      </div>
    </div>
  );
}

function NotServing({ model, deployment }: { model: ModelDetail; deployment: Deployment }) {
  const { start } = useModelCommands(model);
  const stopped = deployment.state === 'stopped' || deployment.state === 'failed';
  return (
    <Alert
      icon={<IconInfoCircle size={20} aria-hidden />}
      color={deployment.state === 'failed' ? 'red' : 'verdigris'}
      title={inTransition(deployment) ? 'The endpoint will answer as soon as the deployment is ready' : 'The endpoint does not answer now'}
    >
      {stopped
        ? (deployment.failure?.remedy ?? 'Nothing is lost: start it again with the configuration it had.')
        : 'You can prepare your application meanwhile: the address stays the same.'}
      <Group gap="sm" mt="sm">
        {stopped && (
          <ActionButton size="xs" loading={start.isPending} onClick={() => start.mutate()}>
            Start again
          </ActionButton>
        )}
        <Link to="/models/$modelId" params={{ modelId: model.id }} search={{ tab: 'deployments' }} className={classes.link}>
          See the deployment
        </Link>
      </Group>
    </Alert>
  );
}

function NoEndpoint({ model, deployment }: { model: ModelDetail; deployment: Deployment | null }) {
  const navigate = useNavigate();
  if (deployment !== null) return <NotServing model={model} deployment={deployment} />;
  return (
    <Panel>
      <EmptyState
        title="Not deployed yet"
        action={
          <ActionButton
            disabledReason={refusal(model.actions, 'deploy')}
            onClick={() => void navigate({ to: '/models/$modelId/deploy', params: { modelId: model.id } })}
          >
            Deploy {model.name}
          </ActionButton>
        }
      >
        The address and ready-made examples for curl, Python and JavaScript appear here once the model is deployed.
      </EmptyState>
    </Panel>
  );
}
