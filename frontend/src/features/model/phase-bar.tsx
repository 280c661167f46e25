import type { Phase } from '@/lib/api/types';
import { phaseShares, phaseTime, phaseTitle } from '@/lib/phases';
import classes from './phase-bar.module.css';

/** How long each phase of a revision took, beside each other. */
export function PhaseBar({ phases, revision }: { phases: readonly Phase[]; revision: number }) {
  const shares = phaseShares(phases);
  return (
    <div className={classes.root}>
      <div className={classes.bar} aria-hidden>
        {phases.map(({ name, state }, index) => (
          <span key={name} className={classes.part} data-phase={name} data-state={state} style={{ flexGrow: shares[index] }} />
        ))}
      </div>
      <dl className={classes.times} aria-label={`How long each phase of revision ${revision} took`}>
        {phases.map((phase) => (
          <div key={phase.name} className={classes.time}>
            <dt>
              <span className={classes.dot} data-phase={phase.name} data-state={phase.state} aria-hidden />
              {phaseTitle(phase.name)}
            </dt>
            <dd>{phaseTime(phase)}</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}
