import { ActionIcon, Menu } from '@mantine/core';
import {
  IconBuildingStore,
  IconDotsVertical,
  IconEyeOff,
  IconHistory,
  IconPencil,
  IconPlayerStop,
  IconRefresh,
  IconRocket,
  IconTrash,
  IconX,
} from '@tabler/icons-react';
import { useNavigate } from '@tanstack/react-router';
import { ActionMenuItem } from '@/components/action-menu-item';
import { useModelCommands } from '@/components/model-commands';
import { refusal } from '@/lib/actions';
import type { ModelAction, ModelSummary } from '@/lib/api/types';

interface ModelMenuProps {
  model: ModelSummary;
  onEdit: () => void;
}

/** Everything that can be done with a model; what cannot be done now says why. */
export function ModelMenu({ model, onEdit }: ModelMenuProps) {
  const navigate = useNavigate();
  const commands = useModelCommands(model);
  const reason = (action: ModelAction) => refusal(model.actions, action);
  const deployed = model.deploymentState !== null;
  const underway = model.state === 'importing' || model.state === 'validating';
  const toDeploy = () => void navigate({ to: '/models/$modelId/deploy', params: { modelId: model.id } });

  return (
    <Menu width={270}>
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" aria-label={`Actions for ${model.name}`}>
          <IconDotsVertical size={19} aria-hidden />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <ActionMenuItem
          leftSection={<IconRocket size={17} aria-hidden />}
          onClick={toDeploy}
          disabledReason={reason(deployed ? 'redeploy' : 'deploy')}
        >
          {deployed ? 'Redeploy' : 'Deploy'}
        </ActionMenuItem>
        {deployed && (
          <>
            <ActionMenuItem
              leftSection={<IconHistory size={17} aria-hidden />}
              onClick={() =>
                void navigate({ to: '/models/$modelId', params: { modelId: model.id }, search: { tab: 'deployments' } })
              }
            >
              Deployment history
            </ActionMenuItem>
            <ActionMenuItem
              leftSection={<IconPlayerStop size={17} aria-hidden />}
              disabledReason={reason('stop')}
              onClick={commands.confirmStop}
            >
              Stop
            </ActionMenuItem>
          </>
        )}
        <Menu.Divider />
        <ActionMenuItem
          leftSection={<IconPencil size={17} aria-hidden />}
          onClick={onEdit}
          disabledReason={reason('edit')}
        >
          Edit
        </ActionMenuItem>
        {model.publication === 'published' ? (
          <ActionMenuItem
            leftSection={<IconEyeOff size={17} aria-hidden />}
            disabledReason={reason('withdraw')}
            onClick={commands.confirmWithdraw}
          >
            Withdraw from marketplace
          </ActionMenuItem>
        ) : (
          <ActionMenuItem
            leftSection={<IconBuildingStore size={17} aria-hidden />}
            disabledReason={reason('publish')}
            onClick={commands.publish}
          >
            Publish to marketplace
          </ActionMenuItem>
        )}
        <Menu.Divider />
        {model.state === 'import_failed' && (
          <ActionMenuItem
            leftSection={<IconRefresh size={17} aria-hidden />}
            disabledReason={reason('retry')}
            onClick={() => commands.retry.mutate()}
          >
            Retry the import
          </ActionMenuItem>
        )}
        {underway && (
          <ActionMenuItem
            leftSection={<IconX size={17} aria-hidden />}
            disabledReason={reason('cancel')}
            onClick={commands.confirmCancel}
          >
            Cancel the import
          </ActionMenuItem>
        )}
        <ActionMenuItem
          danger
          leftSection={<IconTrash size={17} aria-hidden />}
          disabledReason={reason('delete')}
          onClick={commands.confirmRemove}
        >
          Delete
        </ActionMenuItem>
      </Menu.Dropdown>
    </Menu>
  );
}
