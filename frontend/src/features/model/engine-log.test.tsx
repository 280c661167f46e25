import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { cleanup, fireEvent, render, screen } from '@testing-library/react';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { EngineLog as EngineLogAnswer } from '@/lib/api/types';
import { EngineLog } from './engine-log';

const NOTHING: EngineLogAnswer = { replica: null, replicas: [], lines: [], nextLine: 0 };

beforeEach(() => {
  vi.stubGlobal('matchMedia', () => ({ matches: false, addEventListener: () => undefined, removeEventListener: () => undefined }));
  vi.stubGlobal('EventSource', class extends EventTarget { close = () => undefined; });
  vi.stubGlobal('fetch', () => Promise.resolve(new Response(JSON.stringify(NOTHING))));
});
afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

it('says that it waits for lines while there is no replica yet', async () => {
  render(
    <QueryClientProvider client={new QueryClient()}>
      <MantineProvider env="test">
        <EngineLog modelId="m" />
      </MantineProvider>
    </QueryClientProvider>,
  );
  fireEvent.click(screen.getByText('Show engine logs'));
  expect((await screen.findByRole('status')).textContent).toBe('Connecting …');
  expect(screen.queryByLabelText('Replica')).toBeNull();
});
