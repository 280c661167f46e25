import { QueryClient } from '@tanstack/react-query';
import { ApiProblem } from '@/lib/api/client';

const RETRIES = 3;
/** Pause before a query is asked again whose retries were in vain (ms). */
const TRY_AGAIN_MS = 10_000;

/**
 * Freshness comes from the live stream, so nothing refetches by time or by focus, but for what could not be
 * fetched for a reason that passes: no further event may come to ask for it.
 */
export function createQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 30_000,
        refetchOnWindowFocus: false,
        refetchInterval: ({ state }) => (state.status === 'error' && passes(state.error) ? TRY_AGAIN_MS : false),
        retry: (count, error) => passes(error) && count < RETRIES,
        retryDelay: (count, error) =>
          (error instanceof ApiProblem && error.retryAfter !== null ? error.retryAfter : 2 ** count / 2) * 1000,
      },
    },
  });
}

function passes(error: unknown): boolean {
  return error instanceof ApiProblem && error.transient;
}
