import { IconAlertTriangle, IconCheck, IconX } from '@tabler/icons-react';
import { useState } from 'react';
import { Button } from '@mantine/core';
import { Panel } from '@/components/panel';
import type { ModelDetail, ReportCheck } from '@/lib/api/types';
import classes from './report-panel.module.css';

const ORDER: Record<ReportCheck['outcome'], number> = { fail: 0, warn: 1, pass: 2 };
const WORDS: Record<ReportCheck['outcome'], string> = { fail: 'Failed', warn: 'Warning', pass: 'Passed' };
const ICONS = { fail: IconX, warn: IconAlertTriangle, pass: IconCheck };
/** Passed checks beyond this many wait behind a button when there is something more important to read. */
const SHOWN_WHEN_QUIET = 6;

/** What was checked: failures first, each with what was found and what to do. */
export function ReportPanel({ model }: { model: ModelDetail }) {
  const [everything, setEverything] = useState(false);
  const checks = [...(model.report?.checks ?? [])].sort((one, other) => ORDER[one.outcome] - ORDER[other.outcome]);
  const serious = checks.filter((check) => check.outcome !== 'pass').length;
  const shown = everything ? checks : checks.slice(0, Math.max(serious, SHOWN_WHEN_QUIET));

  return (
    <Panel title="Validation report" {...(checks.length > 0 && { description: summary(checks) })} flush={checks.length > 0}>
      {checks.length === 0 ? (
        <p className={classes.missing}>
          {model.state === 'import_failed'
            ? 'The import ended before anything could be checked.'
            : 'Appears here check by check as soon as the files have been stored and examined.'}
        </p>
      ) : (
        <>
          <ul className={classes.checks}>
            {shown.map((check) => (
              <Check key={check.id} check={check} />
            ))}
          </ul>
          {shown.length < checks.length && (
            <div className={classes.more}>
              <Button variant="subtle" size="xs" onClick={() => setEverything(true)}>
                Show {checks.length - shown.length} more passed
              </Button>
            </div>
          )}
        </>
      )}
    </Panel>
  );
}

function Check({ check }: { check: ReportCheck }) {
  const Icon = ICONS[check.outcome];
  return (
    <li className={classes.check} data-outcome={check.outcome}>
      <span className={classes.mark}>
        <Icon size={14} stroke={2.6} role="img" aria-label={WORDS[check.outcome]} />
      </span>
      <div className={classes.words}>
        <div className={classes.title}>{check.title}</div>
        {check.evidence && <div className={classes.evidence}>{check.evidence}</div>}
        {check.hint && <div className={classes.hint}>{check.hint}</div>}
      </div>
    </li>
  );
}

function summary(checks: ReportCheck[]): string {
  const count = (outcome: ReportCheck['outcome']) => checks.filter((check) => check.outcome === outcome).length;
  const parts = [
    [count('fail'), 'failed'],
    [count('warn'), count('warn') === 1 ? 'warning' : 'warnings'],
    [count('pass'), 'passed'],
  ] as const;
  return parts.filter(([number]) => number > 0).map(([number, words]) => `${number} ${words}`).join(' · ');
}
