import { Panel } from '@/components/panel';
import { ReportChecks, reportSummary } from '@/components/report-checks';
import type { ModelDetail } from '@/lib/api/types';
import classes from './report-panel.module.css';

/** What was checked, and what was found. */
export function ReportPanel({ model }: { model: ModelDetail }) {
  const checks = model.report?.checks ?? [];
  return (
    <Panel title="Validation report" {...(checks.length > 0 && { description: reportSummary(checks) })} flush={checks.length > 0}>
      {checks.length === 0 ? (
        <p className={classes.missing}>
          {model.state === 'import_failed'
            ? 'The import ended before anything could be checked.'
            : 'Appears here check by check as soon as the files have been stored and examined.'}
        </p>
      ) : (
        <ReportChecks checks={checks} />
      )}
    </Panel>
  );
}
