import { Button } from '@mantine/core';
import { IconAlertTriangle, IconCheck, IconX } from '@tabler/icons-react';
import { useState } from 'react';
import type { ReportCheck } from '@/lib/api/types';
import classes from './report-checks.module.css';

const ORDER: Record<ReportCheck['outcome'], number> = { fail: 0, warn: 1, pass: 2 };
const WORDS: Record<ReportCheck['outcome'], string> = { fail: 'Failed', warn: 'Warning', pass: 'Passed' };
const ICONS = { fail: IconX, warn: IconAlertTriangle, pass: IconCheck };
/** Passed checks beyond this many wait behind a button when there is something more important to read. */
const SHOWN_WHEN_QUIET = 6;

/** Checks of a validation: failures first, each with what was found and what to do. */
export function ReportChecks({ checks }: { checks: readonly ReportCheck[] }) {
  const [everything, setEverything] = useState(false);
  const sorted = checks.toSorted((one, other) => ORDER[one.outcome] - ORDER[other.outcome]);
  const serious = sorted.filter((check) => check.outcome !== 'pass').length;
  const shown = everything ? sorted : sorted.slice(0, Math.max(serious, SHOWN_WHEN_QUIET));

  return (
    <>
      <ul className={classes.checks}>
        {shown.map((check) => (
          <Check key={check.id} check={check} />
        ))}
      </ul>
      {shown.length < sorted.length && (
        <div className={classes.more}>
          <Button variant="subtle" size="xs" onClick={() => setEverything(true)}>
            Show {sorted.length - shown.length} more passed
          </Button>
        </div>
      )}
    </>
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

/** "1 failed · 2 warnings · 11 passed". */
export function reportSummary(checks: readonly ReportCheck[]): string {
  const count = (outcome: ReportCheck['outcome']) => checks.filter((check) => check.outcome === outcome).length;
  const parts = [
    [count('fail'), 'failed'],
    [count('warn'), count('warn') === 1 ? 'warning' : 'warnings'],
    [count('pass'), 'passed'],
  ] as const;
  return parts.filter(([number]) => number > 0).map(([number, words]) => `${number} ${words}`).join(' · ');
}
