import { queryOptions } from '@tanstack/react-query';
import { request } from './api/client';
import type { Connection, ConnectionKind } from './api/types';
import { keys } from './query-keys';

export const CONNECTION_KINDS: Record<ConnectionKind, string> = {
  huggingface: 'Hugging Face',
  registry: 'Container registry',
  s3: 'S3 object storage',
  http: 'Web server',
};

/** Every connection by name, without the secrets. */
export const connectionsQuery = queryOptions({
  queryKey: keys.connections,
  queryFn: ({ signal }) => request<{ items: Connection[] }>('GET', '/api/connections', { signal }),
});
