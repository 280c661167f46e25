import { ApiProblem } from './problem';

export { ApiProblem } from './problem';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
export type QueryValue = string | number | boolean | null | undefined;

export interface RequestOptions {
  body?: unknown;
  /** Empty, null and undefined values are left out. */
  query?: Record<string, QueryValue>;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** Milliseconds after which an unanswered request counts as failed. */
  timeout?: number;
}

const TIMEOUT_MS = 30_000;

const unauthorizedListeners = new Set<() => void>();

/** Runs when any request finds that the session has ended. Returns the unsubscribe function. */
export function onUnauthorized(listener: () => void): () => void {
  unauthorizedListeners.add(listener);
  return () => unauthorizedListeners.delete(listener);
}

/** Reports that the session has ended. */
export function reportUnauthorized(): void {
  for (const listener of unauthorizedListeners) listener();
}

/** The value the server wants back in X-CSRF-Token with every change. */
export function csrfToken(): string {
  const match = /(?:^|;\s*)loggia_csrf=([^;]*)/.exec(document.cookie);
  return decodeURIComponent(match?.[1] ?? '');
}

export function withQuery(path: string, query: Record<string, QueryValue> = {}): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== '') search.set(key, String(value));
  }
  const text = search.toString();
  return text === '' ? path : `${path}?${text}`;
}

/**
 * One request to the API: JSON in, JSON out.
 * Throws ApiProblem for every refusal and failure; an abort by the caller's signal is passed on as it is.
 */
export async function request<T>(method: Method, path: string, options: RequestOptions = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json', ...options.headers };
  if (method !== 'GET') headers['X-CSRF-Token'] = csrfToken();
  const init: RequestInit = { method, headers, credentials: 'same-origin' };
  if (options.body !== undefined) {
    headers['Content-Type'] = 'application/json';
    init.body = JSON.stringify(options.body);
  }
  const timeout = AbortSignal.timeout(options.timeout ?? TIMEOUT_MS);
  init.signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;

  let response: Response;
  try {
    response = await fetch(withQuery(path, options.query), init);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw ApiProblem.unreachable();
  }
  if (!response.ok) {
    const problem = await ApiProblem.fromResponse(response);
    if (response.status === 401 && path !== '/api/session') reportUnauthorized();
    throw problem;
  }
  if (response.status === 204 || response.headers.get('content-length') === '0') return undefined as T;
  const content = await response.text();
  return (content === '' ? undefined : JSON.parse(content)) as T;
}
