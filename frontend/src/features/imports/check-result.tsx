import { ReportChecks, reportSummary } from '@/components/report-checks';
import type { ImportCheck } from '@/lib/api/types';
import { eventWords } from '@/lib/event-text';
import classes from './check-result.module.css';

/** What an import would find and write. */
export function CheckResult({ check }: { check: ImportCheck }) {
  const checks = check.report?.checks ?? [];
  const passed = check.failure === null && checks.every(({ outcome }) => outcome !== 'fail');
  return (
    <section className={classes.root} aria-label="Result of the check">
      <div className={classes.head} role="status">
        <strong>{passed ? 'It can be imported' : 'The import would fail'}</strong>
        <span>{checks.length > 0 ? reportSummary(checks) : passed && 'Nothing had to be checked.'}</span>
      </div>
      {check.failure !== null && (
        <p className={classes.failure}>
          {check.failure.reason} {check.failure.remedy}
        </p>
      )}
      <ReportChecks checks={checks} />
      {check.events.length > 0 && (
        <details className={classes.events}>
          <summary>What would be written: {check.events.length === 1 ? '1 event' : `${check.events.length} events`}</summary>
          <ol>
            {check.events.map((event, place) => (
              <li key={place}>{eventWords(event.type, event.data).text}</li>
            ))}
          </ol>
        </details>
      )}
    </section>
  );
}
