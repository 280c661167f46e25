import type { ModelSummary } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';

/** The commands of a model's menu. */
export function useModelCommands({ id, name }: ModelSummary) {
  const path = `/api/models/${id}`;
  return {
    publication: useCommand<'published' | 'withdrawn'>({
      modelId: id,
      request: (state) => ({ method: 'PUT', path: `${path}/publication`, body: { state } }),
      accepted: (_, state) =>
        state === 'published' ? `${name} is on the marketplace.` : `${name} is hidden from the marketplace.`,
    }),
    retry: useCommand({
      modelId: id,
      request: () => ({ method: 'POST', path: `${path}/import/retry` }),
      accepted: `The import of ${name} begins again.`,
    }),
    cancel: useCommand({
      modelId: id,
      request: () => ({ method: 'POST', path: `${path}/import/cancel` }),
      accepted: `The import of ${name} is cancelled.`,
    }),
    stop: useCommand({
      modelId: id,
      request: () => ({ method: 'DELETE', path: `${path}/deployment` }),
      accepted: `${name} is stopping.`,
    }),
    remove: useCommand({
      modelId: id,
      request: () => ({ method: 'DELETE', path }),
      accepted: `${name} is deleted.`,
    }),
  };
}
