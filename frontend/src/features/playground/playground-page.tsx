import { Skeleton } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { EmptyState } from '@/components/empty-state';
import { LinkButton } from '@/components/link-button';
import { PageHeader } from '@/components/page-header';
import { ProblemAlert } from '@/components/problem-alert';
import { deploymentQuery, inTransition } from '@/lib/deployment';
import { useModel } from '@/lib/queries';
import { Chat } from './chat';
import classes from './playground-page.module.css';

const route = getRouteApi('/shell/models/$modelId/playground');

export default function PlaygroundPage() {
  const { modelId } = route.useParams();
  const model = useModel(modelId);
  const deployment = useQuery(deploymentQuery(modelId));
  const failed = [model, deployment].find(({ error }) => error !== null);

  if (failed) return <ProblemAlert problem={failed.error} onRetry={() => void failed.refetch()} />;
  if (!model.data || deployment.data === undefined) {
    return (
      <div className={classes.page} aria-busy aria-label="Loading the playground">
        <Skeleton height={16} width={90} mb={8} />
        <Skeleton height={34} width={260} maw="100%" mb={24} />
        <Skeleton height={480} radius="lg" />
      </div>
    );
  }
  const serving = deployment.data?.servingRevision ?? null;

  return (
    <div className={classes.page}>
      <PageHeader
        title="Playground"
        parent={
          <Link to="/models/$modelId" params={{ modelId }} className={classes.parent}>
            {model.data.name}
          </Link>
        }
      />
      {serving === null ? (
        <EmptyState
          title={`${model.data.name} does not answer now`}
          action={
            deployment.data === null ? (
              <LinkButton to="/models/$modelId/deploy" params={{ modelId }}>
                Deploy {model.data.name}
              </LinkButton>
            ) : (
              <LinkButton to="/models/$modelId" params={{ modelId }} search={{ tab: 'deployments' }}>
                See the deployment
              </LinkButton>
            )
          }
        >
          {deployment.data !== null && inTransition(deployment.data)
            ? 'The conversation can begin as soon as the deployment is ready. This page notices by itself.'
            : 'A model can be talked to while it is deployed.'}
        </EmptyState>
      ) : (
        <Chat
          key={modelId}
          modelId={modelId}
          name={model.data.name}
          revision={serving}
          chat={model.data.card?.chatTemplate ?? true}
          defaults={deployment.data?.configuration.parameters ?? null}
        />
      )}
    </div>
  );
}
