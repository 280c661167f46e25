import { queryOptions, useQuery } from '@tanstack/react-query';
import { request, type QueryValue } from './api/client';
import type { ModelDetail, Session } from './api/types';
import { atLeast } from './freshness';
import { keys } from './query-keys';

/**
 * A query about one model: `modelQuery<Deployment>(id, 'deployment')` reads /api/models/{id}/deployment.
 * It waits for what was last written or announced about the model, and the live stream keeps it fresh.
 */
export function modelQuery<T>(modelId: string, resource = '', query: Record<string, QueryValue> = {}) {
  const path = `/api/models/${modelId}${resource === '' ? '' : `/${resource}`}`;
  return queryOptions({
    queryKey: keys.model(modelId, resource, query),
    queryFn: ({ signal }) => request<T>('GET', path, { query: { ...query, atLeast: atLeast(modelId) }, signal }),
  });
}

export function useModel(modelId: string) {
  return useQuery(modelQuery<ModelDetail>(modelId));
}

export const sessionQuery = queryOptions({
  queryKey: keys.session,
  queryFn: ({ signal }) => request<Session>('GET', '/api/session', { signal }),
  staleTime: Infinity,
  retry: false,
});
