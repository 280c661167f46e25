import type { DeploymentState, HistoryEntry, ModelState, PlacedReplica, Publication, ReportCheck, Server } from '@/lib/api/types';
import classes from './state-badge.module.css';

type Tone = 'neutral' | 'active' | 'good' | 'bad' | 'warn';
type Outcome = HistoryEntry['outcome'];
type CheckOutcome = ReportCheck['outcome'];
export type AnyState = ModelState | DeploymentState | Publication | Outcome | CheckOutcome | Server['state'] | PlacedReplica['state'];

const STATES: Record<AnyState, { text: string; tone: Tone }> = {
  importing: { text: 'Importing', tone: 'active' },
  validating: { text: 'Validating', tone: 'active' },
  ready_to_deploy: { text: 'Ready to deploy', tone: 'good' },
  import_failed: { text: 'Import failed', tone: 'bad' },
  optimizing: { text: 'Optimizing', tone: 'active' },
  deploying: { text: 'Deploying', tone: 'active' },
  deployed: { text: 'Deployed', tone: 'good' },
  failed: { text: 'Failed', tone: 'bad' },
  stopping: { text: 'Stopping', tone: 'active' },
  stopped: { text: 'Stopped', tone: 'neutral' },
  published: { text: 'Published', tone: 'good' },
  withdrawn: { text: 'Withdrawn', tone: 'neutral' },
  unpublished: { text: 'Not published', tone: 'neutral' },
  pending: { text: 'In progress', tone: 'active' },
  superseded: { text: 'Superseded', tone: 'neutral' },
  pass: { text: 'Passed', tone: 'good' },
  warn: { text: 'Warning', tone: 'warn' },
  fail: { text: 'Failed', tone: 'bad' },
  ready: { text: 'Ready', tone: 'good' },
  starting: { text: 'Starting', tone: 'active' },
  draining: { text: 'Draining', tone: 'warn' },
  lost: { text: 'Lost', tone: 'bad' },
};

export function stateText(state: AnyState): string {
  return STATES[state].text;
}

interface StateBadgeProps {
  state: AnyState;
  /** Other words for the same state, where the place needs them. */
  children?: string | undefined;
}

/** A state in words, with a dot that pulses while something is going on. */
export function StateBadge({ state, children }: StateBadgeProps) {
  const { text, tone } = STATES[state];
  return (
    <span className={classes.badge} data-tone={tone}>
      <span className={classes.dot} aria-hidden />
      {children ?? text}
    </span>
  );
}
