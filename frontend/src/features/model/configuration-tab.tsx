import { useQuery } from '@tanstack/react-query';
import { Button, Group, Skeleton } from '@mantine/core';
import { IconDownload } from '@tabler/icons-react';
import { useNavigate } from '@tanstack/react-router';
import { ActionButton } from '@/components/action-button';
import { ConfigurationList } from '@/components/configuration-list';
import { DetailsForm } from '@/components/details-form';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import type { ModelDetail } from '@/lib/api/types';
import { refusal } from '@/lib/actions';
import { deploymentQuery } from '@/lib/deployment';
import classes from './model-page.module.css';
import { PendingPanel } from './pending-panel';
import { TemplatePanel } from './template-panel';

export function ConfigurationTab({ model }: { model: ModelDetail }) {
  return (
    <div className={classes.stack}>
      <Panel
        title="Details"
        description="Editing them never disturbs a running deployment."
      >
        <DetailsForm model={model} />
      </Panel>
      <PendingPanel model={model} />
      <DeployConfigurationPanel model={model} />
      <TemplatePanel model={model} />
    </div>
  );
}

function DeployConfigurationPanel({ model }: { model: ModelDetail }) {
  const deployment = useQuery(deploymentQuery(model.id));
  const navigate = useNavigate();
  const configuration = deployment.data?.configuration;
  const openWizard = () => void navigate({ to: '/models/$modelId/deploy', params: { modelId: model.id } });

  if (deployment.error) return <ProblemAlert problem={deployment.error} onRetry={() => void deployment.refetch()} />;
  if (deployment.isPending) return <Skeleton height={420} radius="lg" />;
  if (!configuration) {
    return (
      <Panel
        title="Deploy configuration"
        description="There is none yet: it is made when the model is deployed for the first time."
      >
        <ActionButton disabledReason={refusal(model.actions, 'deploy')} onClick={openWizard}>
          Deploy {model.name}
        </ActionButton>
      </Panel>
    );
  }
  return (
    <Panel
      title="Deploy configuration"
      description={`Of revision ${deployment.data?.desiredRevision ?? '—'}. A revision never changes; a redeployment makes a new one.`}
      actions={
        <Group gap="sm">
          <Button
            component="a"
            href={`/api/models/${model.id}/deployment/configuration`}
            download="deployconfig.json"
            variant="default"
            size="xs"
            leftSection={<IconDownload size={16} aria-hidden />}
          >
            deployconfig.json
          </Button>
          <ActionButton size="xs" disabledReason={refusal(model.actions, 'redeploy')} onClick={openWizard}>
            Change it
          </ActionButton>
        </Group>
      }
    >
      <ConfigurationList configuration={configuration} />
    </Panel>
  );
}
