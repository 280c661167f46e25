import { keepPreviousData, useInfiniteQuery } from '@tanstack/react-query';
import { request } from '@/lib/api/client';
import type { ModelPage } from '@/lib/api/types';
import { atLeast } from '@/lib/freshness';
import { keys } from '@/lib/query-keys';

/** What narrows and orders the gallery; kept in the address, so that a view can be shared. */
export interface GallerySearch {
  search?: string;
  state?: string;
  kind?: string;
  publication?: string;
  deploymentState?: string;
  label?: string;
  sort?: string;
}

export const FILTERS = ['state', 'deploymentState', 'publication', 'kind', 'label'] as const;
export type Filter = (typeof FILTERS)[number];

const PAGE_SIZE = 30;

export function useGallery(search: GallerySearch) {
  return useInfiniteQuery({
    queryKey: [...keys.models, search],
    queryFn: ({ pageParam, signal }) =>
      request<ModelPage>('GET', '/api/models', {
        query: { ...search, cursor: pageParam, limit: PAGE_SIZE, atLeast: atLeast() },
        signal,
      }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.nextCursor,
    placeholderData: keepPreviousData,
  });
}
