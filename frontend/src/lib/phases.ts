import type { Phase, PhaseName } from './api/types';
import { formatDuration } from './format';

const TITLES: Record<PhaseName, string> = {
  preparing: 'Prepared',
  queued: 'Queued',
  environment: 'Environment',
  files: 'Files',
  optimizing: 'Optimizing',
  starting: 'Starting',
  switching: 'Switching',
  draining: 'Draining',
};

export function phaseTitle(name: PhaseName): string {
  return TITLES[name];
}

/** How long a phase took: "0.4 s" where whole seconds would say nothing. */
export function phaseTime({ state, seconds }: Phase): string {
  if (seconds === null) return state === 'running' ? 'in progress' : '—';
  const time = seconds < 10 ? `${Math.round(seconds * 10) / 10} s` : formatDuration(seconds);
  return state === 'failed' ? `failed after ${time}` : time;
}

/** The share of each phase of the time that is known, in percent; a sliver for one that took nearly none. */
export function phaseShares(phases: readonly Phase[]): number[] {
  const least = 1.5;
  const whole = phases.reduce((sum, { seconds }) => sum + (seconds ?? 0), 0);
  return phases.map(({ seconds }) => (whole === 0 ? 100 / phases.length : Math.max(least, ((seconds ?? 0) / whole) * 100)));
}
