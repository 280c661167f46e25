import { infiniteQueryOptions, queryOptions, useQuery, type QueryKey } from '@tanstack/react-query';
import { request, type QueryValue } from './api/client';
import type { ModelDetail, Session } from './api/types';
import { atLeast } from './freshness';
import { keys } from './query-keys';

interface Page<T> {
  items: T[];
  nextCursor: string | null;
}

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

/** A list that comes in pages, as one list of what has been fetched of it. */
export function pagedQuery<T>(queryKey: QueryKey, path: string, query: () => Record<string, QueryValue> = () => ({})) {
  return infiniteQueryOptions({
    queryKey,
    queryFn: ({ pageParam, signal }) => request<Page<T>>('GET', path, { query: { ...query(), cursor: pageParam }, signal }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.nextCursor,
    select: ({ pages }) => pages.flatMap(({ items }) => items),
  });
}

/** A paged list about one model, kept fresh as `modelQuery` is. */
export function modelPages<T>(modelId: string, resource: string) {
  return pagedQuery<T>(keys.model(modelId, resource), `/api/models/${modelId}/${resource}`, () => ({
    atLeast: atLeast(modelId),
  }));
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
