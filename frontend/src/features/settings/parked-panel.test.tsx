import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { createMemoryHistory, createRootRoute, createRoute, createRouter, RouterProvider } from '@tanstack/react-router';
import { cleanup, render, screen, waitFor } from '@testing-library/react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Parked } from '@/lib/api/types';
import { ParkedPanel } from './parked-panel';

const MODEL = '11111111-1111-4111-8111-111111111111';
const NOTHING: Parked = { events: [], eventCount: 0, jobs: [], jobCount: 0 };

function show() {
  const root = createRootRoute();
  const page = createRoute({ getParentRoute: () => root, path: '/', component: ParkedPanel });
  const router = createRouter({ routeTree: root.addChildren([page]), history: createMemoryHistory() });
  return render(
    <QueryClientProvider client={new QueryClient()}>
      <MantineProvider>
        <RouterProvider router={router as never} />
      </MantineProvider>
    </QueryClientProvider>,
  );
}

describe('ParkedPanel', () => {
  const fetch = vi.fn<() => Promise<Response>>();

  beforeEach(() => {
    fetch.mockReset();
    vi.stubGlobal('fetch', fetch);
    vi.stubGlobal('scrollTo', () => undefined);
    vi.stubGlobal('matchMedia', () => ({ matches: false, addEventListener: () => undefined, removeEventListener: () => undefined }));
  });
  afterEach(() => {
    cleanup();
    vi.unstubAllGlobals();
  });

  it('shows nothing while nothing is parked', async () => {
    fetch.mockImplementation(() => Promise.resolve(new Response(JSON.stringify(NOTHING))));
    const { container } = show();
    await waitFor(() => {
      expect(fetch).toHaveBeenCalled();
      expect(container.textContent).not.toContain('Parked');
    });
  });

  it('names what is parked, why, and where to look', async () => {
    const parked: Parked = {
      jobs: [{ id: MODEL, kind: 'import', modelId: MODEL, version: '0.0.1', error: 'disk on fire', parkedAt: '2026-01-01T00:00:00Z' }],
      jobCount: 1,
      events: [
        { consumer: 'gallery', position: 7, type: 'UserRegistered', modelId: null, error: 'no row', parkedAt: '2026-01-01T00:00:00Z' },
      ],
      eventCount: 12,
    };
    fetch.mockImplementation(() => Promise.resolve(new Response(JSON.stringify(parked))));
    show();
    expect(await screen.findByText('disk on fire')).toBeTruthy();
    expect(screen.getByText('gallery: UserRegistered, position 7')).toBeTruthy();
    expect(screen.getAllByRole('link').map((link) => link.getAttribute('href'))).toEqual([`/models/${MODEL}`]);
    expect(screen.getByText('and 11 more.')).toBeTruthy();
  });
});
