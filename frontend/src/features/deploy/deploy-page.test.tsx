import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { createMemoryHistory, createRootRoute, createRoute, createRouter, Outlet, RouterProvider } from '@tanstack/react-router';
import { act, cleanup, render, screen } from '@testing-library/react';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import DeployPage from './deploy-page';

vi.mock('./wizard', () => ({ Wizard: () => <p>the wizard</p> }));

const MODEL = { id: 'm', name: 'tiny', version: 1, actions: { deploy: { allowed: true, reason: null }, redeploy: { allowed: true, reason: null } } };
const FAILURE = { status: 503, detail: 'The database is away.', remedy: 'Wait a moment.' };
const fetch = vi.fn<(address: string) => Promise<Response>>();

const refuse = () => Promise.resolve(new Response(JSON.stringify(FAILURE), { status: 503 }));
const answer = (address: string) =>
  Promise.resolve(
    address.includes('/deployment') ? new Response('{}', { status: 404 }) : new Response(JSON.stringify(MODEL)),
  );

beforeEach(() => {
  vi.stubGlobal('fetch', fetch);
  vi.stubGlobal('scrollTo', () => undefined);
  vi.stubGlobal('matchMedia', () => ({ matches: false, addEventListener: () => undefined, removeEventListener: () => undefined }));
});
afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

function show(client: QueryClient) {
  const root = createRootRoute();
  const shell = createRoute({ getParentRoute: () => root, id: 'shell', component: Outlet });
  const page = createRoute({ getParentRoute: () => shell, path: '/models/$modelId/deploy', component: DeployPage });
  const router = createRouter({
    routeTree: root.addChildren([shell.addChildren([page])]),
    history: createMemoryHistory({ initialEntries: ['/models/m/deploy'] }),
  });
  render(
    <QueryClientProvider client={client}>
      <MantineProvider env="test">
        <RouterProvider router={router as never} />
      </MantineProvider>
    </QueryClientProvider>,
  );
}

const newClient = () => new QueryClient({ defaultOptions: { queries: { retry: false } } });

it('leaves the wizard where it is when a later reading fails', async () => {
  fetch.mockImplementation(answer);
  const client = newClient();
  show(client);
  expect(await screen.findByText('the wizard')).toBeTruthy();
  fetch.mockImplementation(refuse);
  await act(() => client.refetchQueries());
  expect(client.getQueryCache().getAll().every(({ state }) => state.error !== null)).toBe(true);
  expect(screen.getByText('the wizard')).toBeTruthy();
  expect(screen.queryByText(FAILURE.detail)).toBeNull();
});

it('says what failed where nothing has been read yet', async () => {
  fetch.mockImplementation(refuse);
  show(newClient());
  expect(await screen.findByText(FAILURE.detail)).toBeTruthy();
});
