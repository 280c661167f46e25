import { useNavigate } from '@tanstack/react-router';
import { confirm } from '@/components/confirm-button';
import type { Deployment, ModelDetail, Publication } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';

/** The commands of the model page's header and of its import panel. */
export function useModelCommands(model: ModelDetail, deployment: Deployment | null = null) {
  const navigate = useNavigate();
  const path = `/api/models/${model.id}`;
  const ifMatch = model.version;

  const publication = useCommand<Extract<Publication, 'published' | 'withdrawn'>>({
    modelId: model.id,
    request: (state) => ({ method: 'PUT', path: `${path}/publication`, body: { state }, ifMatch }),
    accepted: (_, state) =>
      state === 'published' ? `${model.name} is on the marketplace` : `${model.name} is no longer on the marketplace`,
  });
  const stop = useCommand({
    modelId: model.id,
    request: () => ({ method: 'DELETE', path: `${path}/deployment`, ifMatch: deployment?.version }),
    accepted: 'Stopping: running requests are finished first',
  });
  const start = useCommand({
    modelId: model.id,
    request: () => ({ method: 'POST', path: `${path}/deployment/start`, ifMatch: deployment?.version }),
    accepted: `Starting ${model.name}`,
  });
  const retry = useCommand({
    modelId: model.id,
    request: () => ({ method: 'POST', path: `${path}/import/retry`, ifMatch }),
    accepted: 'Import started again',
  });
  const cancel = useCommand({
    modelId: model.id,
    request: () => ({ method: 'POST', path: `${path}/import/cancel`, ifMatch }),
    accepted: 'Import cancelled',
  });
  const remove = useCommand({
    // No model id: its queries would answer 404 from now on, and the page is left anyway.
    request: () => ({ method: 'DELETE', path, ifMatch }),
    accepted: `${model.name} deleted`,
    onAccepted: () => void navigate({ to: '/' }),
  });

  return {
    publication,
    stop,
    start,
    retry,
    cancel,
    remove,
    confirmCancel: () =>
      confirm({
        title: `Cancel the import of ${model.name}?`,
        message: 'What was imported so far is discarded. You can retry the import or delete the model afterwards.',
        confirmLabel: 'Cancel import',
        danger: true,
        onConfirm: () => cancel.mutate(),
      }),
  };
}
