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

/** The stage to which each step of the deploy worker's telemetry belongs. */
const STAGE_OF_STEP: Partial<Record<string, StageId>> = {
  environment: 'environment',
  files: 'environment',
  start: 'engine',
  ready: 'answer',
};

/**
 * How far the desired revision has come, from what was observed about its replicas. Telemetry only refines
 * the view of a running engine: without it the stages are still right.
 */
export function deployStages(deployment: Deployment, step: string | undefined): Stage[] {
  const current = currentStage(deployment, step);
  const at = current === null ? ORDER.length : ORDER.indexOf(current);
  return ORDER.map((id, index) => ({
    id,
    title: TITLES[id],
    state: index < at ? 'done' : index > at ? 'waiting' : 'running',
  }));
}

/** Whether a reading of this step tells about this stage. */
export function belongsTo(step: string | undefined, stage: StageId): boolean {
  return step !== undefined && STAGE_OF_STEP[step] === stage;
}

function currentStage(deployment: Deployment, step: string | undefined): StageId | null {
  if (deployment.servingRevision === deployment.desiredRevision) return null;
  const replicas = deployment.replicas.filter(
    ({ revision, state }) => revision === deployment.desiredRevision && state !== 'lost',
  );
  if (replicas.length === 0) return 'environment';
  if (replicas.every(answers)) return 'traffic';
  return step === 'ready' ? 'answer' : 'engine';
}

function answers({ state }: Replica): boolean {
  return state === 'ready';
}
