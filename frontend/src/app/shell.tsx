import { AppShell, Burger, UnstyledButton } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import {
  IconBuildingStore,
  IconChartBar,
  IconHistory,
  IconLayoutGrid,
  IconServer2,
  IconSettings,
  type Icon,
} from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link, Outlet } from '@tanstack/react-router';
import { useEffect } from 'react';
import { Logo } from '@/components/logo';
import { ImportDialog } from '@/features/imports/import-dialog';
import type { ImportPlace } from '@/features/imports/sources';
import { UploadDock } from '@/features/imports/upload-dock';
import { NotificationBell } from '@/features/notifications/notification-bell';
import { useOutcomeNotifications } from '@/features/notifications/outcomes';
import { UserMenu } from '@/features/session/user-menu';
import type { Role } from '@/lib/api/types';
import { liveStream } from '@/lib/live';
import { SEES_USAGE } from '@/lib/roles';
import { ConnectionIndicator } from './connection-indicator';
import { SchemeToggle } from './scheme-toggle';
import classes from './shell.module.css';

const route = getRouteApi('/shell');

interface Place {
  to: '/' | '/marketplace' | '/servers' | '/events' | '/usage' | '/settings';
  name: string;
  icon: Icon;
  /** Shown to these roles alone. */
  roles?: ReadonlySet<Role>;
}

const PLACES: Place[] = [
  { to: '/', name: 'Gallery', icon: IconLayoutGrid },
  { to: '/marketplace', name: 'Marketplace', icon: IconBuildingStore },
  { to: '/servers', name: 'Servers', icon: IconServer2 },
  { to: '/events', name: 'Events', icon: IconHistory },
  { to: '/usage', name: 'Usage', icon: IconChartBar, roles: SEES_USAGE },
  { to: '/settings', name: 'Settings', icon: IconSettings },
];

/** What every page of a signed-in person stands in. */
export function Shell() {
  const queryClient = useQueryClient();
  const { user } = route.useRouteContext();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const [menuOpen, menu] = useDisclosure(false);
  const places = PLACES.filter(({ roles }) => roles?.has(user.role) ?? true);

  useEffect(() => liveStream.start(queryClient), [queryClient]);
  useOutcomeNotifications();

  const showImport = (place: ImportPlace | undefined) =>
    void navigate({
      to: '.',
      // The page that is open, whichever it is.
      unsafeRelative: 'path',
      search: (current) => ({
        ...current,
        import: place,
        versionOf: place === undefined ? undefined : search.versionOf,
      }),
      replace: true,
      resetScroll: false,
    });

  return (
    <AppShell
      header={{ height: 60 }}
      navbar={{ width: 260, breakpoint: 'sm', collapsed: { desktop: true, mobile: !menuOpen } }}
      padding={0}
      classNames={{ header: classes.header, navbar: classes.drawer, main: classes.main }}
    >
      <UnstyledButton component="a" href="#content" className={classes.skip}>
        Skip to the content
      </UnstyledButton>

      <AppShell.Header>
        <div className={classes.bar}>
          <Burger
            opened={menuOpen}
            onClick={menu.toggle}
            hiddenFrom="sm"
            size="sm"
            color="currentColor"
            aria-label={menuOpen ? 'Close the menu' : 'Open the menu'}
          />
          <Link to="/" className={classes.brand} aria-label="Loggia, to the gallery">
            <Logo />
            <span>Loggia</span>
          </Link>
          <nav className={classes.arches} aria-label="Main">
            {places.map((place) => (
              <PlaceLink key={place.to} place={place} className={classes.arch} />
            ))}
          </nav>
          <div className={classes.tools}>
            <ConnectionIndicator />
            <NotificationBell />
            <SchemeToggle />
            <UserMenu user={user} />
          </div>
        </div>
      </AppShell.Header>

      {menuOpen && (
        <AppShell.Navbar aria-label="Menu" hiddenFrom="sm">
          <div className={classes.places}>
            {places.map((place) => (
              <PlaceLink key={place.to} place={place} className={classes.place} onClick={menu.close} />
            ))}
          </div>
        </AppShell.Navbar>
      )}

      <AppShell.Main id="content" tabIndex={-1}>
        <div className={classes.page}>
          <Outlet />
        </div>
      </AppShell.Main>

      <ImportDialog
        place={search.import}
        versionOf={search.versionOf}
        onPlace={showImport}
        onClose={() => showImport(undefined)}
      />
      <UploadDock userId={user.id} />
    </AppShell>
  );
}

interface PlaceLinkProps {
  place: Place;
  className: string | undefined;
  onClick?: () => void;
}

function PlaceLink({ place, className, onClick }: PlaceLinkProps) {
  return (
    <Link
      to={place.to}
      className={className}
      {...(onClick && { onClick })}
      activeOptions={{ exact: place.to === '/', includeSearch: false }}
    >
      <place.icon size={18} stroke={1.8} aria-hidden />
      {place.name}
    </Link>
  );
}
