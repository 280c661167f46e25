import { QueryClient } from '@tanstack/react-query';
import { ApiProblem } from '@/lib/api/client';

const RETRIES = 3;

/** Freshness comes from the live stream, so nothing refetches by time or by focus. */
export function createQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 30_000,
        refetchOnWindowFocus: false,
        retry: (count, error) => error instanceof ApiProblem && error.transient && count < RETRIES,
        retryDelay: (count, error) =>
          (error instanceof ApiProblem && error.retryAfter !== null ? error.retryAfter : 2 ** count / 2) * 1000,
      },
    },
  });
}
