import { Alert, Button, Select, Skeleton } from '@mantine/core';
import { keepPreviousData, useInfiniteQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { EmptyState } from '@/components/empty-state';
import { EventRow } from '@/components/event-row';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { ShowMore } from '@/components/show-more';
import { request } from '@/lib/api/client';
import type { EventItem } from '@/lib/api/types';
import { MODEL_EVENT_TYPES, spellOut } from '@/lib/event-text';
import { atLeast } from '@/lib/freshness';
import { useLiveState } from '@/lib/live';
import { keys } from '@/lib/query-keys';
import classes from './events-tab.module.css';

interface EventPage {
  items: EventItem[];
  nextCursor: string | null;
}

const PAGE = 50;

/** Everything that happened to the model, newest first, growing while one looks. */
export function EventsTab({ modelId }: { modelId: string }) {
  const [type, setType] = useState<string | null>(null);
  const live = useLiveState();
  const events = useInfiniteQuery({
    queryKey: keys.model(modelId, 'events', { type }),
    queryFn: ({ pageParam, signal }) =>
      request<EventPage>('GET', '/api/events', {
        query: { modelId, type, cursor: pageParam, limit: PAGE, atLeast: atLeast(modelId) },
        signal,
      }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.nextCursor,
    placeholderData: keepPreviousData,
  });
  const items = (events.data?.pages ?? []).flatMap((page) => page.items).sort((one, other) => other.position - one.position);

  return (
    <Panel
      title="Events"
      description="Newest first. None can be changed or removed."
      actions={
        <Select
          aria-label="Type of event"
          placeholder="All types"
          clearable
          searchable
          w={240}
          maxDropdownHeight={320}
          data={MODEL_EVENT_TYPES.map((value) => ({ value, label: spellOut(value) }))}
          value={type}
          onChange={setType}
        />
      }
      flush
    >
      {live === 'lost' && (
        <Alert color="ochre" radius={0}>
          The live connection is interrupted. It reconnects by itself, and what happens meanwhile appears then.
        </Alert>
      )}
      {events.error && (
        <div className={classes.inset}>
          <ProblemAlert problem={events.error} onRetry={() => void events.refetch()} />
        </div>
      )}
      {events.isPending && (
        <div className={classes.inset}>
          {Array.from({ length: 6 }, (_, row) => (
            <Skeleton key={row} height={40} mb={12} />
          ))}
        </div>
      )}
      {events.data && items.length === 0 && (
        <EmptyState
          title={type === null ? 'No events' : 'No event of this type'}
          action={
            type !== null && (
              <Button variant="default" onClick={() => setType(null)}>
                Show all types
              </Button>
            )
          }
        >
          It appears here the moment it happens.
        </EmptyState>
      )}
      {items.length > 0 && (
        <ol className={classes.events} aria-live="polite" aria-relevant="additions">
          {items.map((event) => (
            <EventRow key={event.position} event={event} />
          ))}
        </ol>
      )}
      <ShowMore list={events}>Show earlier events</ShowMore>
    </Panel>
  );
}
