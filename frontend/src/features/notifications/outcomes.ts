import { notifications } from '@mantine/notifications';
import { useQuery, useQueryClient, type QueryClient } from '@tanstack/react-query';
import { useCallback, useEffect } from 'react';
import { request } from '@/lib/api/client';
import type { LiveEvent, ModelDetail, OutcomeEvent } from '@/lib/api/types';
import { useLiveEvents } from '@/lib/live';
import { modelQuery } from '@/lib/queries';
import { notificationStore, type Notice } from './notification-store';

type Telling = Pick<Notice, 'tone' | 'title' | 'detail'>;

/** Events that end something a person waited for, and how they are told. */
const OUTCOMES: Record<string, (model: string, data: LiveEvent['data']) => Telling> = {
  ModelValidated: (model) => ({
    tone: 'good',
    title: `${model} is ready to deploy`,
    detail: 'All checks are done. Open the model to see its card and report.',
  }),
  ModelImportFailed: (model, data) => ({
    tone: 'bad',
    title: `The import of ${model} failed`,
    detail: sentence(data['reason'], data['remedy']),
  }),
  ModelImportCancelled: (model) => ({
    tone: 'neutral',
    title: `The import of ${model} was cancelled`,
    detail: 'Delete the model, or retry the import.',
  }),
  RevisionDeployed: (model, data) => ({
    tone: 'good',
    title: `${model} is deployed`,
    detail: `Revision ${String(data['revision'])} answers requests now.`,
  }),
  RevisionFailed: (model, data) => ({
    tone: 'bad',
    title: `Deploying ${model} failed`,
    detail: sentence(
      data['reason'],
      data['remedy'],
      typeof data['servingRevision'] === 'number' ? `Revision ${data['servingRevision']} keeps serving.` : '',
    ),
  }),
  ReplicaLost: (model, data) => ({
    tone: 'bad',
    title: `An engine of ${model} stopped`,
    detail: sentence(data['reason'], 'It is started again by itself.'),
  }),
  DeploymentStopped: (model) => ({
    tone: 'neutral',
    title: `${model} is stopped`,
    detail: 'Its endpoint no longer answers. Start it again from the model’s page.',
  }),
};

/** Tells outcomes as toasts when they happen, and keeps them in the list of notifications. */
export function useOutcomeNotifications(): void {
  const queryClient = useQueryClient();

  useLiveEvents(
    useCallback(
      (event: LiveEvent) => {
        const imported = remember(event);
        void tell(queryClient, event, imported?.name).then((notice) => {
          if (notice === null || !notificationStore.add(notice)) return;
          // Hundreds of toasts help nobody: a batch has its own page.
          if (imported?.inBatch) return;
          notifications.show({
            color: notice.tone === 'bad' ? 'red' : notice.tone === 'good' ? 'verdigris' : 'gray',
            title: notice.title,
            message: notice.detail,
            autoClose: notice.tone === 'bad' ? 12_000 : 6_000,
          });
        });
      },
      [queryClient],
    ),
  );

  const missed = useQuery({
    queryKey: ['notifications'],
    queryFn: ({ signal }) => request<{ items: OutcomeEvent[] }>('GET', '/api/notifications', { signal }),
    staleTime: Infinity,
  });
  useEffect(() => {
    for (const event of missed.data?.items ?? []) {
      void tell(queryClient, event, event.modelName).then((notice) => notice && notificationStore.add(notice));
    }
  }, [missed.data, queryClient]);
}

interface Imported {
  name: string;
  inBatch: boolean;
}

/** Models whose import began while this page was open. */
const begun = new Map<string, Imported>();

function remember({ type, modelId, data }: LiveEvent): Imported | undefined {
  if (modelId === null) return undefined;
  if (type === 'ModelImportRequested' && typeof data['name'] === 'string') {
    begun.set(modelId, { name: data['name'], inBatch: typeof data['batchId'] === 'string' && data['batchId'] !== '' });
  }
  return begun.get(modelId);
}

/** The notice of an event, or null where it is no outcome. `knownName` is null where the model is gone. */
async function tell(
  queryClient: QueryClient,
  event: LiveEvent,
  knownName?: string | null,
): Promise<Notice | null> {
  const outcome = OUTCOMES[event.type];
  if (outcome === undefined) return null;
  const name =
    knownName === undefined && event.modelId !== null ? await modelName(queryClient, event.modelId) : knownName;
  return {
    position: event.position,
    time: event.time,
    modelId: event.modelId,
    ...outcome(name ?? 'a model', event.data),
  };
}

async function modelName(queryClient: QueryClient, modelId: string): Promise<string | null> {
  try {
    const model = await queryClient.query({ ...modelQuery<ModelDetail>(modelId), staleTime: 'static' });
    return model.name;
  } catch {
    // Deleted in the meantime: the outcome is still worth telling.
    return null;
  }
}

function sentence(...parts: unknown[]): string {
  return parts
    .filter((part): part is string => typeof part === 'string' && part !== '')
    .join(' ');
}
