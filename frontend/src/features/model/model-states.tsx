import { StateBadge } from '@/components/state-badge';
import type { Deployment, ModelDetail } from '@/lib/api/types';

/** The model's states beside its name: import, deployment with its serving revision, publication. */
export function ModelStates({ model, deployment }: { model: ModelDetail; deployment: Deployment | null }) {
  const serving = deployment?.servingRevision ?? null;
  return (
    <>
      {model.deploymentState === null && <StateBadge state={model.state} />}
      {model.deploymentState !== null && (
        <StateBadge state={model.deploymentState}>{deploymentText(model.deploymentState, serving)}</StateBadge>
      )}
      {model.publication !== 'unpublished' && <StateBadge state={model.publication} />}
    </>
  );
}

function deploymentText(state: NonNullable<ModelDetail['deploymentState']>, serving: number | null): string {
  switch (state) {
    case 'deployed':
      return serving === null ? 'Deployed' : `Deployed · revision ${serving}`;
    case 'optimizing':
      return 'Optimizing';
    case 'deploying':
      return serving === null ? 'Deploying' : `Deploying · revision ${serving} serves`;
    case 'failed':
      return serving === null ? 'Deployment failed' : `Last revision failed · ${serving} serves`;
    case 'stopping':
      return 'Stopping';
    case 'stopped':
      return 'Stopped';
  }
}
