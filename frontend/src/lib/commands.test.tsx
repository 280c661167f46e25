import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { act, renderHook, waitFor } from '@testing-library/react';
import type { ReactNode } from 'react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { useCommand } from './commands';
import { atLeast, forgetPositions } from './freshness';

function Providers({ children }: { children: ReactNode }) {
  return (
    <QueryClientProvider client={new QueryClient()}>
      <MantineProvider>{children}</MantineProvider>
    </QueryClientProvider>
  );
}

function answer(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), { status, headers });
}

describe('useCommand', () => {
  const fetch = vi.fn<(input: string, init: RequestInit) => Promise<Response>>();

  beforeEach(() => {
    forgetPositions();
    fetch.mockReset();
    vi.stubGlobal('fetch', fetch);
    vi.stubGlobal('matchMedia', () => ({ matches: false, addEventListener: () => undefined, removeEventListener: () => undefined }));
    document.cookie = 'loggia_csrf=token';
  });
  afterEach(() => vi.unstubAllGlobals());

  function command() {
    return renderHook(
      () =>
        useCommand<string>({
          modelId: 'm',
          problems: 'inline',
          request: (description) => ({ method: 'PATCH', path: '/api/models/m', body: { description }, ifMatch: 3 }),
        }),
      { wrapper: Providers },
    ).result;
  }

  function header(call: number, name: string): string | undefined {
    return (fetch.mock.calls[call]?.[1].headers as Record<string, string> | undefined)?.[name];
  }

  it('sends its safeguards and makes later reads wait for its position', async () => {
    fetch.mockResolvedValue(answer(200, { id: 'm', version: 4, position: 71 }));
    const result = command();
    act(() => result.current.mutate('new'));
    await waitFor(() => expect(result.current.isSuccess).toBe(true));
    expect(header(0, 'If-Match')).toBe('"3"');
    expect(header(0, 'X-CSRF-Token')).toBe('token');
    expect(atLeast('m')).toBe(71);
    expect(atLeast('another')).toBeUndefined();
  });

  it('repeats a command whose answer was lost under the same key, and a new one under a new key', async () => {
    fetch.mockRejectedValueOnce(new TypeError('network'));
    fetch.mockResolvedValueOnce(answer(503, { detail: 'Catching up.' }, { 'Retry-After': '0' }));
    fetch.mockImplementation(() => Promise.resolve(answer(200, { id: 'm', version: 4, position: 71 })));
    const result = command();
    act(() => result.current.mutate('new'));
    await waitFor(() => expect(result.current.isSuccess).toBe(true), { timeout: 5000 });
    expect(header(1, 'Idempotency-Key')).toBe(header(0, 'Idempotency-Key'));
    expect(header(2, 'Idempotency-Key')).toBe(header(0, 'Idempotency-Key'));

    act(() => result.current.mutate('new'));
    await waitFor(() => expect(fetch).toHaveBeenCalledTimes(4));
    expect(header(3, 'Idempotency-Key')).not.toBe(header(0, 'Idempotency-Key'));
  });

  it('does not repeat a refusal', async () => {
    fetch.mockResolvedValue(answer(409, { detail: 'Changed meanwhile.', current: { version: 5 } }));
    const result = command();
    act(() => result.current.mutate('new'));
    await waitFor(() => expect(result.current.error?.detail).toBe('Changed meanwhile.'));
    expect(fetch).toHaveBeenCalledTimes(1);
  });
});
