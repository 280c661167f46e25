import { IconCheck } from '@tabler/icons-react';
import { ProgressLine } from '@/components/progress-line';
import type { Deployment } from '@/lib/api/types';
import { useTelemetry } from '@/lib/live';
import { deployStages, type StageId, type StageState } from './deploy-stages';
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
  const environment = useTelemetry(deployment.modelId, 'environment');
  const deploy = useTelemetry(deployment.modelId, 'deploy');
  const stages = deployStages(deployment, deploy?.step);
  const current = stages.find(({ state }) => state === 'running');
  const progress = current?.id === 'environment' ? environment : deploy;

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
          <p className={classes.message}>{progress?.message ?? EXPLANATIONS[current.id]}</p>
          <ProgressLine
            progress={progress ?? { done: 0, total: null, unit: 'percent', rate: null, remaining: null }}
            label={`${current.title} of revision ${deployment.desiredRevision ?? ''}`}
            paused={progress === undefined}
          />
        </div>
      )}
    </div>
  );
}
