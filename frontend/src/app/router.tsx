import type { QueryClient } from '@tanstack/react-query';
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
} from '@tanstack/react-router';
import type { ImportPlace } from '@/features/imports/sources';
import { ApiProblem } from '@/lib/api/client';
import { sessionQuery } from '@/lib/queries';
import { NotFoundPage } from './not-found-page';
import { PageError } from './page-error';
import { Shell } from './shell';

const root = createRootRouteWithContext<{ queryClient: QueryClient }>()({
  notFoundComponent: NotFoundPage,
});

/** Search parameters as the address bar may hold them: anything that is not usable text is dropped. */
function texts<const Name extends string>(...names: Name[]) {
  return (search: Record<string, unknown>): Partial<Record<Name, string>> => {
    const kept: Partial<Record<Name, string>> = {};
    for (const name of names) {
      const value = search[name];
      if (typeof value === 'string' && value !== '') kept[name] = value;
      if (typeof value === 'number') kept[name] = String(value);
    }
    return kept;
  };
}

const IMPORT_PLACES: readonly ImportPlace[] = ['base', 'adapter', 'huggingface', 'list', 'path', 'image', 'create'];

/** The import dialog over any page: its source, and the model that gets a further version. */
function importSearch(search: Record<string, unknown>): { import?: ImportPlace; versionOf?: string } {
  const place = IMPORT_PLACES.find((known) => known === search['import']);
  if (place === undefined) return {};
  const versionOf = search['versionOf'];
  return typeof versionOf === 'string' && versionOf !== '' ? { import: place, versionOf } : { import: place };
}

const signIn = createRoute({
  getParentRoute: () => root,
  path: '/signin',
  validateSearch: texts('next'),
  component: lazyRouteComponent(() => import('@/features/session/sign-in-page')),
});

const shell = createRoute({
  getParentRoute: () => root,
  id: 'shell',
  validateSearch: importSearch,
  beforeLoad: async ({ context, location }) => {
    try {
      const session = await context.queryClient.query({ ...sessionQuery, staleTime: 'static' });
      return { user: session.user };
    } catch (error) {
      if (error instanceof ApiProblem && error.status === 401) {
        throw redirect({ to: '/signin', search: location.href === '/' ? {} : { next: location.href } });
      }
      throw error;
    }
  },
  component: Shell,
  errorComponent: PageError,
});

const gallery = createRoute({
  getParentRoute: () => shell,
  path: '/',
  validateSearch: texts('search', 'state', 'kind', 'publication', 'deploymentState', 'label', 'sort'),
  component: lazyRouteComponent(() => import('@/features/gallery/gallery-page')),
});

const model = createRoute({
  getParentRoute: () => shell,
  path: '/models/$modelId',
  validateSearch: texts('tab'),
  component: lazyRouteComponent(() => import('@/features/model/model-page')),
});

const deploy = createRoute({
  getParentRoute: () => shell,
  path: '/models/$modelId/deploy',
  component: lazyRouteComponent(() => import('@/features/deploy/deploy-page')),
});

const deployNew = createRoute({
  getParentRoute: () => shell,
  path: '/deploy',
  validateSearch: texts('importing'),
  component: lazyRouteComponent(() => import('@/features/deploy/deploy-new-page')),
});

const playground = createRoute({
  getParentRoute: () => shell,
  path: '/models/$modelId/playground',
  component: lazyRouteComponent(() => import('@/features/playground/playground-page')),
});

const batch = createRoute({
  getParentRoute: () => shell,
  path: '/imports/$batchId',
  component: lazyRouteComponent(() => import('@/features/imports/batch-page')),
});

const marketplace = createRoute({
  getParentRoute: () => shell,
  path: '/marketplace',
  validateSearch: texts('search'),
  component: lazyRouteComponent(() => import('@/features/marketplace/marketplace-page')),
});

const servers = createRoute({
  getParentRoute: () => shell,
  path: '/servers',
  component: lazyRouteComponent(() => import('@/features/servers/servers-page')),
});

const events = createRoute({
  getParentRoute: () => shell,
  path: '/events',
  validateSearch: texts('modelId', 'actor', 'type', 'after', 'before'),
  component: lazyRouteComponent(() => import('@/features/events/events-page')),
});

const usage = createRoute({
  getParentRoute: () => shell,
  path: '/usage',
  component: lazyRouteComponent(() => import('@/features/usage/usage-page')),
});

const settings = createRoute({
  getParentRoute: () => shell,
  path: '/settings',
  component: lazyRouteComponent(() => import('@/features/settings/settings-page')),
});

const routeTree = root.addChildren([
  signIn,
  shell.addChildren([
    gallery, model, deploy, deployNew, playground, batch, marketplace, servers, events, usage, settings,
  ]),
]);

export function createAppRouter(queryClient: QueryClient) {
  return createRouter({
    routeTree,
    context: { queryClient },
    defaultPreload: 'intent',
    defaultErrorComponent: PageError,
    scrollRestoration: true,
  });
}

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof createAppRouter>;
  }
}
