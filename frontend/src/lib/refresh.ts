import type { QueryClient, QueryKey } from '@tanstack/react-query';

/**
 * Reads anew whatever is shown under the key. A query's very first read cannot be started over while it is under
 * way, and may have been answered before the change: it is read once more behind it.
 */
export async function refresh(queryClient: QueryClient, queryKey: QueryKey): Promise<void> {
  const first = queryClient
    .getQueryCache()
    .findAll({ queryKey, fetchStatus: 'fetching', predicate: ({ state }) => state.data === undefined });
  await queryClient.invalidateQueries({ queryKey });
  await Promise.all(
    first.map((query) => queryClient.invalidateQueries({ queryKey: query.queryKey, exact: true })),
  );
}
