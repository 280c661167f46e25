import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { RelativeTime } from '@/components/relative-time';
import { request } from '@/lib/api/client';
import type { Parked } from '@/lib/api/types';
import { keys } from '@/lib/query-keys';
import classes from './settings-page.module.css';

/** What failed in a way nobody foresaw. It is there only while there is something to do. */
export function ParkedPanel() {
  const parked = useQuery({
    queryKey: keys.parked,
    queryFn: ({ signal }) => request<Parked>('GET', '/api/operations/parked', { signal }),
  });
  const { events = [], jobs = [], eventCount = 0, jobCount = 0 } = parked.data ?? {};
  if (parked.isSuccess && eventCount + jobCount === 0) return null;
  const rows = [
    ...jobs.map((job) => ({ ...job, what: job.kind })),
    ...events.map((event, number) => ({
      id: `event ${number}`,
      what: `${event.consumer}: ${event.type ?? 'unknown record'}${event.position === null ? '' : `, position ${event.position}`}`,
      ...event,
    })),
  ];

  return (
    <Panel
      title="Parked"
      description={
        <>
          These could not be carried out and wait until their cause is mended; everything else goes on. Retry a parked import on its model’s
          page; apply events again with <code>loggia projections redrive</code>.
        </>
      }
      flush
    >
      <ProblemAlert problem={parked.error} onRetry={() => void parked.refetch()} />
      {rows.length > 0 && (
        <div className={classes.scroll}>
          <table className={classes.table}>
            <thead>
              <tr>
                <th scope="col">What</th>
                <th scope="col">Error</th>
                <th scope="col">Since</th>
                <th scope="col">Model</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.id}>
                  <td className={classes.name}>{row.what}</td>
                  <td className={classes.quiet}>{row.error}</td>
                  <td>
                    <RelativeTime time={row.parkedAt} />
                  </td>
                  <td>
                    {row.modelId !== null && (
                      <Link to="/models/$modelId" params={{ modelId: row.modelId }}>
                        Show
                      </Link>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {eventCount + jobCount > rows.length && <p className={classes.none}>and {eventCount + jobCount - rows.length} more.</p>}
    </Panel>
  );
}
