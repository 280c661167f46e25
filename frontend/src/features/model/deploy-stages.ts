import type { Deployment, Replica } from '@/lib/api/types';

export type StageId = 'requested' | 'environment' | 'engine' | 'answer' | 'traffic';
export type StageState = 'done' | 'running' | 'waiting';

export interface Stage {
  id: StageId;
  title: string;
  state: StageState;
}

const TITLES: Record<StageId, string> = {
  requested: 'Requested',
  environment: 'Engine environment',
  engine: 'Engine start',
  answer: 'First answer',
  traffic: 'Traffic',
};
const ORDER: StageId[] = ['requested', 'environment', 'engine', 'answer', 'traffic'];

/** Steps of the deploy telemetry during which the engine runs and is being asked for its first token. */
const ANSWER_STEP = /ready|readiness|probe|answer|token/i;

/**
 * How far the desired revision has come, from what was observed about its replicas. Telemetry only refines
 * the view of a running engine: without it the stages are still right.
 */
export function deployStages(deployment: Deployment, deployStep: string | undefined): Stage[] {
  const current = currentStage(deployment, deployStep);
  const at = current === null ? ORDER.length : ORDER.indexOf(current);
  return ORDER.map((id, index) => ({
    id,
    title: TITLES[id],
    state: index < at ? 'done' : index > at ? 'waiting' : 'running',
  }));
}

function currentStage(deployment: Deployment, deployStep: string | undefined): StageId | null {
  if (deployment.servingRevision === deployment.desiredRevision) return null;
  const replicas = deployment.replicas.filter(({ revision }) => revision === deployment.desiredRevision);
  if (replicas.length === 0) return deployStep === undefined ? 'environment' : engineStage(deployStep);
  if (replicas.every(answers)) return 'traffic';
  return engineStage(deployStep);
}

function engineStage(deployStep: string | undefined): StageId {
  return deployStep !== undefined && ANSWER_STEP.test(deployStep) ? 'answer' : 'engine';
}

function answers({ state, endpoint }: Replica): boolean {
  return state === 'ready' || endpoint !== null;
}
