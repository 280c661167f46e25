import { IconCheck } from '@tabler/icons-react';
import { ProgressLine } from '@/components/progress-line';
import type { Deployment } from '@/lib/api/types';
import { useTelemetry } from '@/lib/live';
import { belongsTo, deployStages, type StageId, type StageState } from './deploy-stages';
import classes from './deploy-progress.module.css';

const EXPLANATIONS: Record<StageId, string> = {
  requested: 'Waiting for the deploy worker.',
  environment: 'Preparing the engine environment. The first time on a machine this downloads the engine and takes some minutes.',
  engine: 'The engine loads the model. This usually takes less than a minute for small models.',
  answer: 'The engine runs; it must generate a token before it gets any traffic.',
  traffic: 'The new revision answers; traffic is being switched to it.',
};

const STATE_WORDS: Record<StageState, string> = {
  done: 'done',
  running: 'in progress',
  waiting: 'waiting',
};

/** The way of a new revision from the request to its first traffic. */
export function DeployProgress({ deployment }: { deployment: Deployment }) {
  const reading = useTelemetry(deployment.modelId, 'deploy');
  const stages = deployStages(deployment, reading?.step);
  const current = stages.find(({ state }) => state === 'running');
  // A reading of an earlier stage says nothing about this one.
  const progress = current && belongsTo(reading?.step, current.id) ? reading : undefined;

  return (
    <div className={classes.root}>
      <ol className={classes.stages}>
        {stages.map(({ id, title, state }) => (
          <li
            key={id}
            className={classes.stage}
            data-state={state}
            aria-current={state === 'running' ? 'step' : undefined}
            aria-label={`${title}: ${STATE_WORDS[state]}`}
          >
            <span className={classes.mark} aria-hidden>
              {state === 'done' && <IconCheck size={13} stroke={3} />}
            </span>
            <span className={classes.title}>{title}</span>
          </li>
        ))}
      </ol>
      {current && (
        <div className={classes.now} role="status">
          <p className={classes.message}>{EXPLANATIONS[current.id]}</p>
          <ProgressLine
            progress={progress ?? { done: 0, total: null, unit: 'percent', rate: null, remaining: null }}
            label={`${current.title} of revision ${deployment.desiredRevision ?? ''}`}
            paused={progress === undefined}
          />
          <p className={classes.detail}>{progress?.message}</p>
        </div>
      )}
    </div>
  );
}
