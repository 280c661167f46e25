import { ProgressLine } from '@/components/progress-line';
import { StateBadge } from '@/components/state-badge';
import type { ModelSummary } from '@/lib/api/types';
import { replicasText } from '@/lib/format';
import { useTelemetry } from '@/lib/telemetry';
import classes from './model-status.module.css';

/** What the model is doing now: its state, with progress while it works and the reason where it failed. */
export function ModelStatus({ model }: { model: ModelSummary }) {
  const progress = useTelemetry(model.id);
  const state = model.state === 'ready_to_deploy' ? (model.deploymentState ?? model.state) : model.state;
  const working = ['importing', 'validating', 'optimizing', 'deploying'].includes(state);

  return (
    <div className={classes.root}>
      <StateBadge state={state}>{state === 'failed' ? 'Deployment failed' : undefined}</StateBadge>
      {state === 'deployed' && model.replicas !== null && (
        <div className={classes.reason}>{replicasText(model.replicas)}</div>
      )}
      {working && progress !== undefined && (
        <ProgressLine compact progress={progress} label={`${model.name}: ${progress.message || progress.step}`} />
      )}
      {model.failure !== null && state === 'import_failed' && (
        <div className={classes.reason} title={`${model.failure.reason} ${model.failure.remedy}`}>
          {model.failure.reason}
        </div>
      )}
    </div>
  );
}
