import { Button, Select, Skeleton, TextInput } from '@mantine/core';
import { keepPreviousData, useInfiniteQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { useCallback, useState } from 'react';
import { EmptyState } from '@/components/empty-state';
import { EventRow } from '@/components/event-row';
import { PageHeader } from '@/components/page-header';
import { ProblemAlert } from '@/components/problem-alert';
import { request } from '@/lib/api/client';
import type { EventPage, LiveEvent } from '@/lib/api/types';
import { EVENT_TYPES, spellOut } from '@/lib/event-text';
import { atLeast } from '@/lib/freshness';
import { useLiveEvents } from '@/lib/live';
import { keys } from '@/lib/query-keys';
import classes from './events-page.module.css';
import { useModelNames } from './model-names';

const route = getRouteApi('/shell/events');

const PAGE_SIZE = 50;
const ACTORS = [
  { value: 'worker:import', label: 'Import worker' },
  { value: 'worker:deploy', label: 'Deploy worker' },
  { value: 'system', label: 'System' },
];

/** The audit list: who did what, and when. */
export default function EventsPage() {
  const { import: _, versionOf: __, ...filters } = route.useSearch();
  const navigate = route.useNavigate();
  const queryClient = useQueryClient();
  const queryKey = [...keys.events, filters];
  const narrowed = Object.keys(filters).length > 0;
  const [newer, setNewer] = useState(0);

  const events = useInfiniteQuery({
    queryKey,
    queryFn: ({ pageParam, signal }) =>
      request<EventPage>('GET', '/api/events', {
        query: {
          ...filters,
          after: startOf(filters.after),
          before: endOf(filters.before),
          cursor: pageParam,
          limit: PAGE_SIZE,
          atLeast: atLeast(),
        },
        signal,
      }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.nextCursor,
    placeholderData: keepPreviousData,
  });
  const { names, pending: namesPending } = useModelNames();
  const items = events.data?.pages.flatMap((page) => page.items) ?? [];

  // New events do not push away what is being read: they are announced, and shown when asked for.
  useLiveEvents(
    useCallback(
      (event: LiveEvent) => {
        if (matches(event, filters)) setNewer((count) => count + 1);
      },
      [filters],
    ),
  );
  const showNewer = () => {
    setNewer(0);
    window.scrollTo({ top: 0 });
    void queryClient.resetQueries({ queryKey });
  };
  const change = (changes: Partial<typeof filters>) => {
    setNewer(0);
    void navigate({ search: (current) => ({ ...current, ...changes }), replace: true, resetScroll: false });
  };

  return (
    <>
      <PageHeader
        title="Events"
        description="Everything that happened, newest first. Events are facts: none can be changed or removed."
      />
      <div className={classes.filters} role="search" aria-label="Filter events">
        <Select
          label="Type"
          placeholder="All types"
          clearable
          searchable
          data={EVENT_TYPES.map((type) => ({ value: type, label: spellOut(type) }))}
          value={filters.type ?? null}
          onChange={(type) => change({ type: type ?? undefined })}
        />
        <ActorField key={filters.actor ?? ''} value={filters.actor ?? ''} onChange={(actor) => change({ actor })} />
        <TextInput
          type="date"
          label="From"
          value={filters.after ?? ''}
          max={filters.before}
          onChange={(event) => change({ after: event.currentTarget.value || undefined })}
        />
        <TextInput
          type="date"
          label="Until"
          value={filters.before ?? ''}
          min={filters.after}
          onChange={(event) => change({ before: event.currentTarget.value || undefined })}
        />
        {filters.modelId !== undefined && (
          <div className={classes.model}>
            Only one model:{' '}
            <Link to="/models/$modelId" params={{ modelId: filters.modelId }}>
              open it
            </Link>
          </div>
        )}
        {narrowed && (
          <Button variant="subtle" onClick={() => void navigate({ search: {}, replace: true })}>
            Clear filters
          </Button>
        )}
      </div>

      <div className={classes.announcement} role="status">
        {newer > 0 && (
          <Button size="compact-sm" variant="light" onClick={showNewer}>
            {newer === 1 ? 'Show 1 new event' : `Show ${newer} new events`}
          </Button>
        )}
      </div>

      {events.isError && <ProblemAlert problem={events.error} onRetry={() => void events.refetch()} mb="md" />}
      {(events.isPending || namesPending) && !events.isError && <EventsSkeleton />}
      {items.length > 0 && !namesPending && (
        <ol className={classes.list} data-stale={events.isPlaceholderData || undefined}>
          {items.map((event) => (
            <EventRow key={event.position} event={event} subject={names.get(event.modelId ?? '')} />
          ))}
        </ol>
      )}
      {events.isSuccess && items.length === 0 && (
        <div className={classes.list}>
          <EmptyState title={narrowed ? 'No event matches' : 'Nothing has happened yet'}>
            {narrowed ? 'Widen the dates, or take a filter away.' : 'Import a model, and its story begins here.'}
          </EmptyState>
        </div>
      )}
      {events.hasNextPage && (
        <div className={classes.more}>
          <Button variant="default" loading={events.isFetchingNextPage} onClick={() => void events.fetchNextPage()}>
            Show earlier events
          </Button>
        </div>
      )}
    </>
  );
}

interface ActorFieldProps {
  value: string;
  onChange: (actor: string | undefined) => void;
}

/** People are typed, since anybody may have acted; the parts of the system can be chosen. */
function ActorField({ value, onChange }: ActorFieldProps) {
  const [text, setText] = useState(ACTORS.find((actor) => actor.value === value)?.label ?? value.replace(/^user:/, ''));
  const submit = () => {
    const typed = text.trim();
    const part = ACTORS.find(({ label }) => label.toLowerCase() === typed.toLowerCase());
    const actor = typed === '' ? undefined : (part?.value ?? (typed.includes(':') ? typed : `user:${typed}`));
    if (actor !== (value === '' ? undefined : value)) onChange(actor);
  };
  return (
    <>
      <TextInput
        label="Who"
        placeholder="User name or worker"
        list="event-actors"
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
        onBlur={submit}
        onKeyDown={(event) => event.key === 'Enter' && submit()}
      />
      <datalist id="event-actors">
        {ACTORS.map(({ label }) => (
          <option key={label} value={label} />
        ))}
      </datalist>
    </>
  );
}

function EventsSkeleton() {
  return (
    <div className={classes.list} aria-hidden>
      {Array.from({ length: 10 }, (_, row) => (
        <div key={row} className={classes.skeleton}>
          <Skeleton height={14} width="36%" />
          <Skeleton height={11} width="22%" mt={8} />
        </div>
      ))}
    </div>
  );
}

type Filters = Partial<Record<'modelId' | 'actor' | 'type' | 'after' | 'before', string>>;

function matches(event: LiveEvent, filters: Filters): boolean {
  return (
    (filters.modelId === undefined || event.modelId === filters.modelId) &&
    (filters.actor === undefined || event.actor === filters.actor) &&
    (filters.type === undefined || event.type === filters.type) &&
    filters.before === undefined
  );
}

/** The first moment of a day in the person's own time zone. */
function startOf(day: string | undefined): string | undefined {
  return moment(day, 'T00:00:00');
}

/** The last moment of a day in the person's own time zone. */
function endOf(day: string | undefined): string | undefined {
  return moment(day, 'T23:59:59.999');
}

function moment(day: string | undefined, time: string): string | undefined {
  const date = new Date(`${day ?? ''}${time}`);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}
