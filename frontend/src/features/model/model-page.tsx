import { Skeleton, Tabs } from '@mantine/core';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { EmptyState } from '@/components/empty-state';
import { LinkButton } from '@/components/link-button';
import { PageHeader } from '@/components/page-header';
import { ProblemAlert } from '@/components/problem-alert';
import { ApiProblem } from '@/lib/api/client';
import type { ModelDetail, Role } from '@/lib/api/types';
import { deploymentQuery } from '@/lib/deployment';
import { useModel } from '@/lib/queries';
import { SEES_USAGE } from '@/lib/roles';
import { UsageView } from '@/features/usage/usage-view';
import { ApiKeysTab } from './api-keys-tab';
import { ConfigurationTab } from './configuration-tab';
import { DeploymentsTab } from './deployments-tab';
import { EndpointTab } from './endpoint-tab';
import { EventsTab } from './events-tab';
import { ImportPanel } from './import-panel';
import { ModelActions } from './model-actions';
import classes from './model-page.module.css';
import { ModelSubtitle } from './model-subtitle';
import { ModelStates } from './model-states';
import { OverviewTab } from './overview-tab';
import { VersionsTab } from './versions-tab';

const route = getRouteApi('/shell/models/$modelId');

interface Tab {
  value: string;
  title: string;
  content: (model: ModelDetail) => ReactNode;
  /** Shown to these roles alone. */
  roles?: ReadonlySet<Role>;
}

const TABS: Tab[] = [
  { value: 'overview', title: 'Overview', content: (model) => <OverviewTab model={model} /> },
  { value: 'versions', title: 'Versions', content: (model) => <VersionsTab model={model} /> },
  { value: 'configuration', title: 'Configuration', content: (model) => <ConfigurationTab model={model} /> },
  { value: 'api-keys', title: 'API keys', content: (model) => <ApiKeysTab model={model} /> },
  { value: 'endpoint', title: 'Endpoint', content: (model) => <EndpointTab model={model} /> },
  { value: 'deployments', title: 'Deployments', content: (model) => <DeploymentsTab model={model} /> },
  { value: 'usage', title: 'Usage', content: (model) => <UsageView modelId={model.id} />, roles: SEES_USAGE },
  { value: 'events', title: 'Events', content: (model) => <EventsTab modelId={model.id} /> },
];

export default function ModelPage() {
  const { modelId } = route.useParams();
  const { data: model, error, refetch } = useModel(modelId);

  if (model) return <LoadedModel key={model.id} model={model} />;
  if (error instanceof ApiProblem && error.status === 404) {
    return (
      <EmptyState
        title="This model does not exist"
        action={<LinkButton to="/">Go to the gallery</LinkButton>}
      >
        It was deleted, or the address is mistyped. Its events, if there were any, are kept.
      </EmptyState>
    );
  }
  if (error) return <ProblemAlert problem={error} onRetry={() => void refetch()} />;
  return <ModelSkeleton />;
}

function LoadedModel({ model }: { model: ModelDetail }) {
  const { tab } = route.useSearch();
  const { user } = route.useRouteContext();
  const navigate = useNavigate();
  const deployment = useQuery({ ...deploymentQuery(model.id), enabled: model.deploymentState !== null });
  const tabs = TABS.filter(({ roles }) => roles?.has(user.role) ?? true);
  const current = tabs.some(({ value }) => value === tab) ? tab : 'overview';

  return (
    <>
      <PageHeader
        title={model.name}
        parent={
          <Link to="/" className={classes.parent}>
            Gallery
          </Link>
        }
        aside={<ModelStates model={model} deployment={deployment.data ?? null} />}
        description={<ModelSubtitle model={model} />}
        actions={<ModelActions model={model} deployment={deployment.data ?? null} />}
      />
      <ImportPanel model={model} />
      <Tabs
        value={current ?? 'overview'}
        keepMounted={false}
        onChange={(value) =>
          void navigate({
            to: '/models/$modelId',
            params: { modelId: model.id },
            search: value === null || value === 'overview' ? {} : { tab: value },
            replace: true,
            resetScroll: false,
          })
        }
        classNames={{ list: classes.tabs, panel: classes.panel, tab: classes.tab }}
      >
        <Tabs.List>
          {tabs.map(({ value, title }) => (
            <Tabs.Tab key={value} value={value}>
              {title}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        {tabs.map(({ value, content }) => (
          <Tabs.Panel key={value} value={value}>
            {content(model)}
          </Tabs.Panel>
        ))}
      </Tabs>
    </>
  );
}

function ModelSkeleton() {
  return (
    <div aria-busy aria-label="Loading the model">
      <Skeleton height={16} width={60} mb={8} />
      <Skeleton height={34} width={320} maw="100%" mb={10} />
      <Skeleton height={18} width={420} maw="100%" mb={30} />
      <Skeleton height={40} mb={24} />
      <Skeleton height={260} radius="lg" mb={20} />
      <Skeleton height={320} radius="lg" />
    </div>
  );
}
