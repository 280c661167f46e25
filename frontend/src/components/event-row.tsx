import { IconChevronRight } from '@tabler/icons-react';
import { useId, useState } from 'react';
import { CodeBlock } from './code-block';
import { Facts } from './facts';
import type { EventItem } from '@/lib/api/types';
import { actorText, eventWords } from '@/lib/event-text';
import { formatDateTime } from '@/lib/format';
import classes from './event-row.module.css';

interface EventRowProps {
  event: EventItem;
  /** What the event is about, where the list is about more than one model. */
  subject?: string | undefined;
}

/** An event as a sentence; opened, the event itself with its identifiers. */
export function EventRow({ event, subject }: EventRowProps) {
  const [opened, setOpened] = useState(false);
  const detailsId = useId();
  const { text, tone } = eventWords(event.type, event.data);

  return (
    <li className={classes.root}>
      <button
        type="button"
        className={classes.head}
        aria-expanded={opened}
        aria-controls={detailsId}
        onClick={() => setOpened(!opened)}
      >
        <span className={classes.dot} data-tone={tone} aria-hidden />
        <span className={classes.words}>
          <span className={classes.text}>
            {subject !== undefined && <span className={classes.subject}>{subject}</span>}
            {text}
          </span>
          <span className={classes.meta}>
            {actorText(event.actor)} · <time dateTime={event.time}>{formatDateTime(event.time)}</time>
          </span>
        </span>
        <span className={classes.position}>#{event.position}</span>
        <IconChevronRight size={16} className={classes.chevron} data-opened={opened} aria-hidden />
      </button>
      {opened && (
        <div className={classes.details} id={detailsId}>
          <Facts
            facts={[
              { label: 'Type', value: event.type, mono: true },
              { label: 'Aggregate and version', value: `${event.aggregateId} · ${event.aggregateVersion}`, mono: true },
              { label: 'Correlation', value: event.correlationId, mono: true },
              { label: 'Caused by', value: event.causationId ?? 'A person or program directly', mono: event.causationId !== null },
            ]}
          />
          <CodeBlock code={JSON.stringify(event.data, null, 2)} what={`data of event ${event.position}`} />
        </div>
      )}
    </li>
  );
}
