import { ActionIcon, Menu } from '@mantine/core';
import {
  IconBuildingStore,
  IconDots,
  IconDownload,
  IconMessageCircle,
  IconPlayerStop,
  IconRocket,
  IconTrash,
  IconVersions,
  IconX,
} from '@tabler/icons-react';
import { useNavigate } from '@tanstack/react-router';
import { ActionButton } from '@/components/action-button';
import { ActionMenuItem } from '@/components/action-menu-item';
import { LinkButton, LinkMenuItem } from '@/components/link-button';
import { useModelCommands } from '@/components/model-commands';
import type { Deployment, ModelDetail } from '@/lib/api/types';
import { refusal } from '@/lib/actions';

interface ModelActionsProps {
  model: ModelDetail;
  deployment: Deployment | null;
}

/** What can be done with the model; what cannot be done now says why. */
export function ModelActions({ model, deployment }: ModelActionsProps) {
  const navigate = useNavigate();
  const commands = useModelCommands(model, () => void navigate({ to: '/' }));
  const deployed = model.deploymentState !== null;
  const deployRefusal = refusal(model.actions, deployed ? 'redeploy' : 'deploy');
  const published = model.publication === 'published';
  const visibility = published ? 'withdraw' : 'publish';
  const serving = deployment?.servingRevision != null;

  return (
    <>
      {serving && (
        <LinkButton
          to="/models/$modelId/playground"
          params={{ modelId: model.id }}
          variant="default"
          leftSection={<IconMessageCircle size={18} aria-hidden />}
        >
          Playground
        </LinkButton>
      )}
      <ActionButton
        variant="default"
        leftSection={<IconBuildingStore size={18} aria-hidden />}
        disabledReason={refusal(model.actions, visibility)}
        loading={commands.publication.isPending}
        onClick={published ? commands.confirmWithdraw : commands.publish}
      >
        {published ? 'Withdraw' : 'Publish'}
      </ActionButton>
      <ActionButton
        leftSection={<IconRocket size={18} aria-hidden />}
        disabledReason={deployRefusal}
        onClick={() => void navigate({ to: '/models/$modelId/deploy', params: { modelId: model.id } })}
      >
        {deployed ? 'Redeploy' : 'Deploy'}
      </ActionButton>
      <Menu>
        <Menu.Target>
          <ActionIcon variant="default" size={36} aria-label={`More actions for ${model.name}`}>
            <IconDots size={18} aria-hidden />
          </ActionIcon>
        </Menu.Target>
        <Menu.Dropdown>
          <ActionMenuItem
            leftSection={<IconPlayerStop size={16} aria-hidden />}
            disabledReason={deployed ? refusal(model.actions, 'stop') : 'The model is not deployed.'}
            onClick={commands.confirmStop}
          >
            Stop serving
          </ActionMenuItem>
          <LinkMenuItem
            to="."
            search={(current) => ({ ...current, import: 'base' as const, versionOf: model.id })}
            resetScroll={false}
            leftSection={<IconVersions size={16} aria-hidden />}
          >
            Import a version
          </LinkMenuItem>
          {model.fileCount !== null && model.state === 'ready_to_deploy' && (
            <Menu.Item
              component="a"
              href={`/api/models/${model.id}/export`}
              download
              leftSection={<IconDownload size={16} aria-hidden />}
            >
              Export as a zip file
            </Menu.Item>
          )}
          {(model.latestState === 'importing' || model.latestState === 'validating') && (
            <ActionMenuItem
              leftSection={<IconX size={16} aria-hidden />}
              disabledReason={refusal(model.actions, 'cancel')}
              onClick={commands.confirmCancel}
            >
              Cancel import
            </ActionMenuItem>
          )}
          <ActionMenuItem
            danger
            leftSection={<IconTrash size={16} aria-hidden />}
            disabledReason={refusal(model.actions, 'delete')}
            onClick={commands.confirmRemove}
          >
            Delete model
          </ActionMenuItem>
        </Menu.Dropdown>
      </Menu>
    </>
  );
}
