import { Alert, Group, Radio, Skeleton } from '@mantine/core';
import { getRouteApi, Navigate } from '@tanstack/react-router';
import { useState } from 'react';
import { LinkButton } from '@/components/link-button';
import { PageHeader } from '@/components/page-header';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { ProgressLine } from '@/components/progress-line';
import { StateBadge } from '@/components/state-badge';
import { useTelemetry } from '@/lib/live';
import { useModel } from '@/lib/queries';
import pageClasses from './deploy-page.module.css';
import { HostedModel } from './hosted-model';
import classes from './steps.module.css';

const route = getRouteApi('/shell/deploy');

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
