import { useQueryClient } from '@tanstack/react-query';
import type { Consent, ModelSummary, Publication } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';
import { keys } from '@/lib/query-keys';
import { confirm } from './confirm-button';

/**
 * The commands that state an aim for a model, wherever they are offered. None carries an If-Match: what
 * they aim at does not depend on what the person saw, and imports and deployments move on by themselves.
 */
export function useModelCommands({ id, name }: Pick<ModelSummary, 'id' | 'name'>, onRemoved?: () => void) {
  const queryClient = useQueryClient();
  const path = `/api/models/${id}`;

  const publication = useCommand<Extract<Publication, 'published' | 'withdrawn'>>({
    modelId: id,
    request: (state) => ({ method: 'PUT', path: `${path}/publication`, body: { state } }),
    accepted: (_, state) =>
      state === 'published' ? `${name} is on the marketplace` : `${name} is no longer on the marketplace`,
  });
  const start = useCommand({
    modelId: id,
    request: () => ({ method: 'POST', path: `${path}/deployment/start` }),
    accepted: `Starting ${name}`,
  });
  const stop = useCommand({
    modelId: id,
    request: () => ({ method: 'DELETE', path: `${path}/deployment` }),
    accepted: `Stopping ${name}: running requests are finished first`,
  });
  const retry = useCommand<Consent | undefined>({
    modelId: id,
    request: (acceptedRisks) => ({
      method: 'POST',
      path: `${path}/import/retry`,
      ...(acceptedRisks !== undefined && { body: { acceptedRisks } }),
    }),
    accepted: `The import of ${name} begins again`,
  });
  const cancel = useCommand({
    modelId: id,
    request: () => ({ method: 'POST', path: `${path}/import/cancel` }),
    accepted: `The import of ${name} is cancelled`,
  });
  const remove = useCommand({
    // No model id: its queries would answer 404 from now on.
    request: () => ({ method: 'DELETE', path }),
    accepted: `${name} is deleted`,
    onAccepted: () => {
      void queryClient.invalidateQueries({ queryKey: keys.models });
      onRemoved?.();
    },
  });

  return {
    publication,
    start,
    retry,
    cancel,
    publish: () => publication.mutate('published'),
    confirmWithdraw: () =>
      confirm({
        title: `Withdraw ${name} from the marketplace?`,
        message: 'It disappears from the marketplace. The deployment, the endpoint and the API keys go on working.',
        confirmLabel: 'Withdraw',
        onConfirm: () => publication.mutate('withdrawn'),
      }),
    confirmStop: () =>
      confirm({
        title: `Stop serving ${name}?`,
        message: 'Running requests are finished, then the endpoint stops answering. You can start it again at any time.',
        confirmLabel: 'Stop serving',
        danger: true,
        onConfirm: () => stop.mutate(),
      }),
    confirmCancel: () =>
      confirm({
        title: `Cancel the import of ${name}?`,
        message: 'What was imported so far is discarded. You can retry the import or delete the model afterwards.',
        confirmLabel: 'Cancel import',
        danger: true,
        onConfirm: () => cancel.mutate(),
      }),
    confirmRemove: () =>
      confirm({
        title: `Delete ${name}?`,
        message: 'The model and its files leave the gallery for good. What happened to it stays in the events.',
        confirmLabel: 'Delete model',
        danger: true,
        onConfirm: () => remove.mutate(),
      }),
  };
}
