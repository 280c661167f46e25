import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { createMemoryHistory, createRootRoute, createRoute, createRouter, RouterProvider } from '@tanstack/react-router';
import { cleanup, fireEvent, render, screen, waitFor } from '@testing-library/react';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { HostedModel } from './hosted-model';

const allowed = { allowed: true, reason: null };
const MODELS = [
  { id: 'new', name: 'fresh', deploymentState: null, actions: { deploy: allowed, redeploy: allowed } },
  { id: 'old', name: 'tiny', deploymentState: 'deployed', actions: { deploy: allowed, redeploy: allowed } },
];

/** Answers as the server does: with the models whose name has the text in it. */
const fetch = vi.fn((address: string) => {
  const text = new URL(address, 'http://loggia').searchParams.get('search') ?? '';
  const items = MODELS.filter(({ name }) => name.includes(text));
  return Promise.resolve(new Response(JSON.stringify({ items, total: items.length, nextCursor: null })));
});

beforeEach(() => {
  vi.stubGlobal('fetch', fetch);
  vi.stubGlobal('scrollTo', () => undefined);
  vi.stubGlobal('ResizeObserver', class { observe = () => undefined; unobserve = () => undefined; disconnect = () => undefined; });
  vi.stubGlobal('matchMedia', () => ({ matches: false, addEventListener: () => undefined, removeEventListener: () => undefined }));
  Element.prototype.scrollIntoView = () => undefined;
});
afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

function show() {
  const root = createRootRoute();
  const page = createRoute({ getParentRoute: () => root, path: '/', component: HostedModel });
  const wizard = createRoute({ getParentRoute: () => root, path: '/models/$modelId/deploy', component: () => <p>the wizard</p> });
  const router = createRouter({ routeTree: root.addChildren([page, wizard]), history: createMemoryHistory() });
  render(
    <QueryClientProvider client={new QueryClient()}>
      <MantineProvider env="test">
        <RouterProvider router={router as never} />
      </MantineProvider>
    </QueryClientProvider>,
  );
  return router;
}

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

it('takes a model that has been deployed to the wizard, as any other', async () => {
  const router = show();
  const field = await screen.findByPlaceholderText<HTMLInputElement>('Choose a model');
  fireEvent.click(field);
  fireEvent.click(await screen.findByText('tiny (has been deployed)'));
  expect(field.value).toBe('tiny (has been deployed)');
  // Longer than it takes to search for what is typed.
  await later(300);
  expect(fetch.mock.calls.map(([address]) => address).filter((address) => address.includes('search='))).toEqual([]);
  fireEvent.click(screen.getByText('Next'));
  await waitFor(() => expect(router.state.location.pathname).toBe('/models/old/deploy'));
});

it('keeps the choice while something else is searched for', async () => {
  const router = show();
  const field = await screen.findByPlaceholderText<HTMLInputElement>('Choose a model');
  fireEvent.click(field);
  fireEvent.click(await screen.findByText('fresh'));
  fireEvent.change(field, { target: { value: 'nobody' } });
  expect(await screen.findByText(/No model that is ready/)).toBeTruthy();
  fireEvent.blur(field);
  expect(field.value).toBe('fresh');
  fireEvent.click(screen.getByText('Next'));
  await waitFor(() => expect(router.state.location.pathname).toBe('/models/new/deploy'));
});
