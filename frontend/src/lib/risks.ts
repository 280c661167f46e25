import type { ReportCheck, Risk } from './api/types';

/** The check that fails while the risk is not accepted. */
const CHECK_OF: Record<Risk, string> = { pickle: 'unsafe_files', custom_code: 'custom_code' };

export const RISKS: Record<Risk, string> = {
  pickle: 'Pickled weights: opening them can run any code.',
  custom_code: 'Custom code: loading the model runs Python files of its own.',
};


export const MAX_REASON_LENGTH = 1000;

/** Risks that somebody would have to accept for the report to pass; empty where consent changes nothing. */
export function risksToAccept(checks: readonly ReportCheck[]): Risk[] {
  return (Object.keys(CHECK_OF) as Risk[]).filter((risk) =>
    checks.some(({ id, outcome }) => id === CHECK_OF[risk] && outcome === 'fail'),
  );
}
