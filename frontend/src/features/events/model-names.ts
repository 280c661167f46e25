import { useQuery } from '@tanstack/react-query';
import { request } from '@/lib/api/client';
import type { ModelPage } from '@/lib/api/types';
import { keys } from '@/lib/query-keys';

/** As many as one page may have; an event of an older or deleted model is shown without its name. */
const NEWEST = 200;
const NONE: ReadonlyMap<string, string> = new Map();

/** Names of the newest models by id: events carry only the id. */
export function useModelNames(): { names: ReadonlyMap<string, string>; pending: boolean } {
  const names = useQuery({
    queryKey: [...keys.models, 'names'],
    queryFn: ({ signal }) => request<ModelPage>('GET', '/api/models', { query: { limit: NEWEST }, signal }),
    select: ({ items }): ReadonlyMap<string, string> => new Map(items.map(({ id, name }) => [id, name])),
  });
  return { names: names.data ?? NONE, pending: names.isPending };
}
