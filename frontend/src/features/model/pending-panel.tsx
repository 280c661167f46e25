import { Group } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { ActionButton } from '@/components/action-button';
import { confirm } from '@/components/confirm-button';
import { DifferenceTable } from '@/components/difference-table';
import { Panel } from '@/components/panel';
import { RelativeTime } from '@/components/relative-time';
import type { ModelDetail } from '@/lib/api/types';
import { refusal } from '@/lib/actions';
import { useCommand } from '@/lib/commands';
import { configurationDifferences } from '@/lib/configuration';
import { deploymentQuery } from '@/lib/deployment';
import { actorText } from '@/lib/event-text';
import classes from './revision.module.css';

/** Changes that somebody has kept and that are not deployed; nothing where there are none. */
export function PendingPanel({ model }: { model: ModelDetail }) {
  const { data: deployment } = useQuery(deploymentQuery(model.id));
  const navigate = useNavigate();
  const discard = useCommand({
    modelId: model.id,
    request: () => ({
      method: 'DELETE',
      path: `/api/models/${model.id}/deployment/configuration`,
      ifMatch: deployment?.version,
    }),
    accepted: 'The pending changes are discarded.',
  });
  if (!deployment?.pending) return null;
  const { pending } = deployment;
  const revision = deployment.desiredRevision ?? '—';

  return (
    <Panel
      title="Pending changes"
      description="They are kept, and nothing that runs has them. They take effect when you redeploy."
      actions={
        <Group gap="sm">
          <ActionButton
            size="xs"
            variant="default"
            loading={discard.isPending}
            disabledReason={refusal(model.actions, 'edit')}
            onClick={() =>
              confirm({
                title: 'Discard the pending changes?',
                message: `The next redeployment then begins with revision ${revision} again.`,
                confirmLabel: 'Discard changes',
                danger: true,
                onConfirm: () => discard.mutate(),
              })
            }
          >
            Discard changes
          </ActionButton>
          <ActionButton
            size="xs"
            disabledReason={refusal(model.actions, 'redeploy')}
            onClick={() => void navigate({ to: '/models/$modelId/deploy', params: { modelId: model.id } })}
          >
            Review and redeploy
          </ActionButton>
        </Group>
      }
    >
      <p className={classes.who}>
        Kept by {actorText(pending.savedBy)} <RelativeTime time={pending.savedAt} />
      </p>
      {pending.reason && <p className={classes.reason}>{pending.reason}</p>}
      <div className={classes.details}>
        <DifferenceTable
          differences={configurationDifferences(deployment.configuration, pending.configuration)}
          before={`Revision ${revision}`}
          after="Pending"
        />
      </div>
    </Panel>
  );
}
