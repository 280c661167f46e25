import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { cleanup, fireEvent, render, screen, waitFor } from '@testing-library/react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Prices } from '@/lib/api/types';
import { PricesDialog } from './prices-dialog';

const FIRST: Prices = {
  version: 3,
  currency: 'EUR',
  hardware: [{ kind: 'gpu', perHour: '2.50' }],
  tokens: [],
  setAt: '2026-01-01T00:00:00Z',
  setBy: 'user:ada',
};
const THEIRS: Prices = { ...FIRST, version: 4, hardware: [{ kind: 'gpu', perHour: '9' }] };
const CONFLICT = { status: 409, detail: 'This was changed since you saw it.', remedy: 'Look at the current state and decide again.' };

describe('PricesDialog', () => {
  const fetch = vi.fn<(input: string, init: RequestInit) => Promise<Response>>();
  const onChanged = vi.fn();
  const client = new QueryClient();

  beforeEach(() => {
    fetch.mockReset();
    vi.stubGlobal('fetch', fetch);
    vi.stubGlobal('matchMedia', () => ({ matches: false, addEventListener: () => undefined, removeEventListener: () => undefined }));
  });
  afterEach(() => {
    cleanup();
    vi.unstubAllGlobals();
  });

  function dialog(prices: Prices) {
    return (
      <QueryClientProvider client={client}>
        <MantineProvider env="test">
          <PricesDialog opened onClose={() => undefined} onChanged={onChanged} prices={prices} models={[]} />
        </MantineProvider>
      </QueryClientProvider>
    );
  }

  it('overwrites nothing that others have set since it was opened, and begins again with theirs', async () => {
    fetch.mockResolvedValue(new Response(JSON.stringify(CONFLICT), { status: 409 }));
    const { rerender } = render(dialog(FIRST));
    rerender(dialog(THEIRS));
    expect(screen.queryByText(/set meanwhile/)).toBeNull();
    fireEvent.click(screen.getByText('Set prices'));
    expect(await screen.findByText(CONFLICT.remedy)).toBeTruthy();
    expect((fetch.mock.calls[0]?.[1].headers as Record<string, string>)['If-Match']).toBe('"3"');
    await waitFor(() => expect(onChanged).toHaveBeenCalled());

    const price = () => screen.getByLabelText<HTMLInputElement>(/^Price of .* for an hour$/).value;
    expect(price()).toBe('2.50');
    fireEvent.click(screen.getByText('Begin again with the prices that were set meanwhile'));
    expect(price()).toBe('9');
    fireEvent.click(screen.getByText('Set prices'));
    await waitFor(() => expect(fetch).toHaveBeenCalledTimes(2));
    expect((fetch.mock.calls[1]?.[1].headers as Record<string, string>)['If-Match']).toBe('"4"');
  });
});
