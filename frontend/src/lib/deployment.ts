import { queryOptions } from '@tanstack/react-query';
import { ApiProblem, request } from './api/client';
import type { Deployment, DeployOptions, HistoryEntry } from './api/types';
import { atLeast } from './freshness';
import { modelPages } from './queries';
import { keys } from './query-keys';

/** The model's deployment; null when it was never deployed. */
export function deploymentQuery(modelId: string) {
  return queryOptions({
    queryKey: keys.model(modelId, 'deployment'),
    queryFn: async ({ signal }): Promise<Deployment | null> => {
      try {
        return await request<Deployment>('GET', `/api/models/${modelId}/deployment`, {
          query: { atLeast: atLeast(modelId) },
          signal,
        });
      } catch (error) {
        if (error instanceof ApiProblem && error.status === 404) return null;
        throw error;
      }
    },
  });
}

/** The revisions of the model's deployment, newest first. */
export function historyQuery(modelId: string) {
  return modelPages<HistoryEntry>(modelId, 'deployment/history');
}

/** What a deployment can be made of now: terms, servers with their free capacity, defaults. */
export function deployOptionsQuery(modelId: string) {
  return queryOptions({
    queryKey: keys.deployOptions(modelId),
    queryFn: ({ signal }) => request<DeployOptions>('GET', '/api/deploy/options', { query: { modelId }, signal }),
  });
}

/** True while something is being brought up or taken down. */
export function inTransition(deployment: Deployment): boolean {
  return ['optimizing', 'deploying', 'stopping'].includes(deployment.state);
}
