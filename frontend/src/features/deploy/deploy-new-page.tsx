import { Alert, Group, Radio, Select, Skeleton } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Navigate, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { ActionButton } from '@/components/action-button';
import { LinkButton } from '@/components/link-button';
import { PageHeader } from '@/components/page-header';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { ProgressLine } from '@/components/progress-line';
import { StateBadge } from '@/components/state-badge';
import { request } from '@/lib/api/client';
import type { ModelPage } from '@/lib/api/types';
import { refusal } from '@/lib/actions';
import { useTelemetry } from '@/lib/live';
import { useModel } from '@/lib/queries';
import { keys } from '@/lib/query-keys';
import pageClasses from './deploy-page.module.css';
import classes from './steps.module.css';

const route = getRouteApi('/shell/deploy');
const SHOWN = 50;

type Origin = 'hosted' | 'huggingface';

/** What is to be deployed: a model that is here, or one that comes from Hugging Face first. */
export default function DeployNewPage() {
  const { importing } = route.useSearch();
  return (
    <div className={pageClasses.page}>
      <PageHeader
        title="Deploy a model"
        description={
          importing === undefined
            ? 'Choose a model that is here, or bring one in from Hugging Face.'
            : 'The model comes in first. The wizard goes on by itself when it is ready.'
        }
      />
      {importing === undefined ? <Origins /> : <Incoming modelId={importing} />}
    </div>
  );
}

function Origins() {
  const [origin, setOrigin] = useState<Origin>('hosted');
  return (
    <div className={classes.stack}>
      <Radio.Group label="Where the model is" value={origin} onChange={(value) => setOrigin(value as Origin)}>
        <div className={classes.cards}>
          <div className={classes.card} data-chosen={origin === 'hosted'}>
            <Radio value="hosted" label="Hosted model" description="It is in the gallery already." {...radio} />
            {origin === 'hosted' && <HostedModel />}
          </div>
          <div className={classes.card} data-chosen={origin === 'huggingface'}>
            <Radio
              value="huggingface"
              label="From Hugging Face"
              description="It is imported and checked first, with a connection where the repository is not public. Then the wizard goes on."
              {...radio}
            />
            {origin === 'huggingface' && (
              <div className={classes.inset}>
                <LinkButton to="." search={{ import: 'huggingface' as const }} resetScroll={false} replace>
                  Choose the repository
                </LinkButton>
              </div>
            )}
          </div>
        </div>
      </Radio.Group>
    </div>
  );
}

const radio = {
  classNames: { body: classes.radioBody, label: classes.radioLabel, description: classes.radioDescription },
};

function HostedModel() {
  const navigate = useNavigate();
  const [search, setSearch] = useState('');
  const [wanted] = useDebouncedValue(search, 200);
  const [chosen, setChosen] = useState<string | null>(null);
  const models = useQuery({
    queryKey: [...keys.models, 'to-deploy', wanted],
    queryFn: ({ signal }) =>
      request<ModelPage>('GET', '/api/models', { query: { state: 'ready_to_deploy', search: wanted, limit: SHOWN }, signal }),
    placeholderData: (before) => before,
  });
  const items = models.data?.items ?? [];
  const model = items.find(({ id }) => id === chosen);
  const reason = model && refusal(model.actions, model.deploymentState === null ? 'deploy' : 'redeploy');

  return (
    <div className={classes.inset}>
      <ProblemAlert problem={models.error} mb="sm" />
      <Select
        label="Model"
        description="Models that are ready to deploy, the newest first. Type to search."
        placeholder="Choose a model"
        searchable
        maw={460}
        nothingFoundMessage={models.isPending ? 'Loading …' : 'No model that is ready to deploy has this in its name.'}
        data={items.map(({ id, name, deploymentState }) => ({
          value: id,
          label: deploymentState === null ? name : `${name} (has been deployed)`,
        }))}
        filter={({ options }) => options}
        value={chosen}
        error={reason}
        onChange={setChosen}
        onSearchChange={(typed) => {
          if (typed !== model?.name) setSearch(typed.slice(0, 100));
        }}
      />
      <Group mt="md">
        <ActionButton
          disabledReason={model === undefined ? 'Choose a model first.' : (reason ?? null)}
          onClick={() => {
            if (model) void navigate({ to: '/models/$modelId/deploy', params: { modelId: model.id } });
          }}
        >
          Next
        </ActionButton>
      </Group>
    </div>
  );
}

/** The import, until its model can be deployed. */
function Incoming({ modelId }: { modelId: string }) {
  const { data: model, error, refetch } = useModel(modelId);
  const progress = useTelemetry(modelId);

  if (error) return <ProblemAlert problem={error} onRetry={() => void refetch()} />;
  if (!model) return <Skeleton height={220} radius="lg" />;
  if (model.state === 'ready_to_deploy') {
    return <Navigate to="/models/$modelId/deploy" params={{ modelId }} replace />;
  }
  const failed = model.state === 'import_failed';
  return (
    <Panel
      title={
        <span className={classes.row}>
          {model.name} <StateBadge state={model.state} />
        </span>
      }
      description={failed ? undefined : 'You can leave this page: the import goes on, and the model waits in the gallery.'}
    >
      {failed ? (
        <Alert color="red" title={model.failure?.reason ?? 'The import failed'}>
          {model.failure?.remedy}
        </Alert>
      ) : (
        <ProgressLine
          progress={progress ?? { done: 0, total: 100, unit: 'percent', rate: null, remaining: null }}
          label={`Progress of the import of ${model.name}`}
          paused={progress === undefined}
        />
      )}
      <Group gap="sm" mt="md">
        <LinkButton variant="default" to="/models/$modelId" params={{ modelId }}>
          {failed ? 'See what was found, and retry' : `Go to ${model.name}`}
        </LinkButton>
        <LinkButton variant="subtle" to="/deploy" search={{}}>
          Choose another model
        </LinkButton>
      </Group>
    </Panel>
  );
}
