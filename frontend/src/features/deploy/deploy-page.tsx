import { Skeleton } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { useState } from 'react';
import { EmptyState } from '@/components/empty-state';
import { LinkButton } from '@/components/link-button';
import { PageHeader } from '@/components/page-header';
import { ProblemAlert } from '@/components/problem-alert';
import { ApiProblem } from '@/lib/api/client';
import type { Deployment, DeployOptions, ModelDetail } from '@/lib/api/types';
import { refusal } from '@/lib/actions';
import { deploymentQuery, deployOptionsQuery } from '@/lib/deployment';
import { useModel } from '@/lib/queries';
import classes from './deploy-page.module.css';
import { Wizard } from './wizard';

const route = getRouteApi('/shell/models/$modelId/deploy');

export default function DeployPage() {
  const { modelId } = route.useParams();
  const model = useModel(modelId);
  const deployment = useQuery(deploymentQuery(modelId));
  const options = useQuery(deployOptionsQuery(modelId));
  // What has been read once stays: a later reading that fails takes the wizard from nobody.
  const failed = [model, deployment, options].find(({ data, error }) => data === undefined && error !== null);

  if (failed?.error instanceof ApiProblem && failed.error.status === 404) {
    return (
      <EmptyState title="This model does not exist" action={<LinkButton to="/">Go to the gallery</LinkButton>}>
        It was deleted, or the address is mistyped.
      </EmptyState>
    );
  }
  if (failed) return <ProblemAlert problem={failed.error} onRetry={() => void failed.refetch()} />;
  if (!model.data || deployment.data === undefined || !options.data) {
    return <WizardSkeleton />;
  }
  return (
    <Loaded
      key={modelId}
      model={model.data}
      deployment={deployment.data}
      options={options.data}
    />
  );
}

interface LoadedProps {
  model: ModelDetail;
  deployment: Deployment | null;
  options: DeployOptions;
}

function Loaded({ model, deployment, options }: LoadedProps) {
  // A refusal that comes up while the wizard is open does not take away what was typed: the server has the last word.
  const [round, setRound] = useState(0);
  const [refused] = useState(() => refusal(model.actions, deployment ? 'redeploy' : 'deploy'));

  return (
    <div className={classes.page}>
      <PageHeader
        title={deployment ? `Redeploy ${model.name}` : `Deploy ${model.name}`}
        parent={
          <Link to="/models/$modelId" params={{ modelId: model.id }} className={classes.parent}>
            {model.name}
          </Link>
        }
        description={
          deployment
            ? 'The new revision is brought up beside the one that serves. Traffic moves only when it answers.'
            : 'Choose how the model is served. Every value can be changed later by a redeployment.'
        }
      />
      {refused === null ? (
        <Wizard key={round} model={model} deployment={deployment} options={options} onStartOver={() => setRound(round + 1)} />
      ) : (
        <EmptyState
          title={deployment ? 'The model cannot be redeployed now' : 'The model cannot be deployed now'}
          action={
            <LinkButton to="/models/$modelId" params={{ modelId: model.id }}>
              Back to {model.name}
            </LinkButton>
          }
        >
          {refused}
        </EmptyState>
      )}
    </div>
  );
}

function WizardSkeleton() {
  return (
    <div className={classes.page} aria-busy aria-label="Loading the deploy wizard">
      <Skeleton height={16} width={90} mb={8} />
      <Skeleton height={34} width={320} maw="100%" mb={10} />
      <Skeleton height={20} width={520} maw="100%" mb={34} />
      <Skeleton height={44} mb={24} />
      <Skeleton height={400} radius="lg" />
    </div>
  );
}
