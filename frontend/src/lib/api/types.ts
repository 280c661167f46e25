/** JSON shapes of the HTTP API. Field names are those of the wire (camelCase). */

export type ModelState = 'importing' | 'validating' | 'ready_to_deploy' | 'import_failed';
export type Publication = 'published' | 'withdrawn' | 'unpublished';
export type DeploymentState =
  | 'optimizing'
  | 'deploying'
  | 'deployed'
  | 'failed'
  | 'stopping'
  | 'stopped';
export type ModelKind = 'base' | 'adapter';
export type Role = 'admin' | 'operator' | 'auditor' | 'integrator' | 'viewer';

export interface Problem {
  type?: string;
  title?: string;
  status: number;
  detail?: string;
  /** What the person can do about it. */
  remedy?: string;
  errors?: FieldError[];
  /** The current state of the resource, when another change came first (409). */
  current?: unknown;
}

export interface FieldError {
  field: string;
  message: string;
}

export interface Accepted {
  id: string;
  version: number;
  position: number;
}

export interface Page<T> {
  items: T[];
  nextCursor: string | null;
  total: number;
}

export interface ActionState {
  allowed: boolean;
  /** Why the action is not possible now; null when it is. */
  reason: string | null;
}

export type ModelAction =
  | 'deploy'
  | 'redeploy'
  | 'stop'
  | 'publish'
  | 'withdraw'
  | 'retry'
  | 'cancel'
  | 'edit'
  | 'delete';

export type Actions = Partial<Record<ModelAction, ActionState>>;

export interface ImportFailure {
  step: string;
  reason: string;
  remedy: string;
}

export interface ModelSummary {
  id: string;
  /** Aggregate version, the value of If-Match. */
  version: number;
  name: string;
  kind: ModelKind;
  source: string;
  modelVersion: string;
  state: ModelState;
  publication: Publication;
  deploymentState: DeploymentState | null;
  description: string;
  labels: string[];
  sizeBytes: number | null;
  architecture: string | null;
  parameterCount: number | null;
  createdAt: string;
  updatedAt: string;
  position: number;
  failure: ImportFailure | null;
  actions: Actions;
}

export interface ModelCard {
  architecture: string | null;
  modelType: string | null;
  task: string | null;
  parameterCount: number | null;
  dtype: string | null;
  contextLength: number | null;
  vocabularySize: number | null;
  hiddenSize: number | null;
  layers: number | null;
  license: string | null;
  tokenizer: string | null;
  chatTemplate: boolean;
  languages: string[];
  summary: string | null;
  weightFormat: string | null;
  totalBytes: number | null;
}

export interface ReportCheck {
  id: string;
  title: string;
  outcome: 'pass' | 'warn' | 'fail';
  evidence: string | null;
  hint: string | null;
}

export interface ImportStep {
  step: string;
  state: 'pending' | 'running' | 'done' | 'failed';
  at: string | null;
}

export interface ModelDetail extends ModelSummary {
  card: ModelCard | null;
  report: { checks: ReportCheck[] } | null;
  fileCount: number | null;
  totalBytes: number | null;
  manifestSha256: string | null;
  documentationLinks: string[];
  baseModelId: string | null;
  uploadId: string | null;
  fileName: string | null;
  importSteps: ImportStep[];
}

export interface ModelFile {
  path: string;
  sizeBytes: number;
  sha256: string;
}

export type Facets = Record<string, Record<string, number>>;

export interface ModelPage extends Page<ModelSummary> {
  facets: Facets;
}

export interface DeployConfiguration {
  schemaVersion: number;
  engine: string;
  optimization: { method: 'skip' | 'ctranslate2' | 'vllm'; quantization: string | null };
  parameters: {
    temperature: number;
    maxTokens: number;
    topP: number;
    topK: number;
    stop: string[];
    batchSize: number;
  };
  scaling: {
    minReplicas: number;
    maxReplicas: number;
    scaleUpDelaySeconds: number;
    scaleDownDelaySeconds: number;
  };
  hardware: {
    server: string;
    accelerator: 'cpu' | 'gpu';
    acceleratorCount: number;
    memoryGib: number;
  };
  engineArguments: Record<string, string>;
}

export interface Replica {
  id: string;
  revision: number;
  state: string;
  endpoint: string | null;
  startedAt: string | null;
}

export interface Deployment {
  id: string;
  version: number;
  state: DeploymentState;
  modelId: string;
  desiredRevision: number | null;
  servingRevision: number | null;
  configuration: DeployConfiguration;
  endpoint: { baseUrl: string; model: string } | null;
  replicas: Replica[];
  failure: { reason: string; remedy: string; logTail: string[] } | null;
  actions: Actions;
}

export interface ConfigurationChange {
  field: string;
  before: unknown;
  after: unknown;
}

export interface HistoryEntry {
  revision: number;
  trigger: 'deploy' | 'redeploy' | 'rollback' | 'start';
  actor: string;
  requestedAt: string;
  configuration: DeployConfiguration;
  reason: string | null;
  outcome: 'pending' | 'deployed' | 'failed' | 'superseded';
  deployedAt: string | null;
  failedAt: string | null;
  retiredAt: string | null;
  seconds: number | null;
  failure: string | null;
  logTail: string[] | null;
  changes: ConfigurationChange[];
}

export interface DeployServer {
  name: string;
  accelerator: 'cpu' | 'gpu';
  cpuCount: number;
  memoryGib: number;
  gpus: { name: string; memoryGib: number }[];
  fits: boolean;
  reason: string | null;
}

export interface OptimizationOption {
  method: 'skip' | 'ctranslate2' | 'vllm';
  label: string;
  available: boolean;
  reason: string | null;
  quantizations: string[];
}

export interface DeployOptions {
  terms: { version: string; text: string; sha256: string };
  servers: DeployServer[];
  defaults: DeployConfiguration;
  optimizations: OptimizationOption[];
}

export interface ApiKeyItem {
  id: string;
  name: string;
  prefix: string;
  createdAt: string;
  expiresAt: string | null;
  revokedAt: string | null;
  requestsPerMinute: number | null;
}

export interface CreatedApiKey extends Accepted {
  /** Shown once; the server keeps only its hash. */
  secret: string;
  prefix: string;
}

export interface PlaygroundToken {
  token: string;
  gatewayUrl: string;
  model: string;
  expiresAt: string;
}

export interface MarketplaceItem {
  modelId: string;
  name: string;
  description: string;
  labels: string[];
  architecture: string | null;
  parameterCount: number | null;
  license: string | null;
  publishedAt: string;
  deployed: boolean;
}

export interface EventItem {
  position: number;
  type: string;
  time: string;
  actor: string;
  modelId: string | null;
  aggregateId: string;
  aggregateVersion: number;
  correlationId: string;
  causationId: string | null;
  data: Record<string, unknown>;
}

/** What the live stream sends for an event. */
export type LiveEvent = Pick<
  EventItem,
  'position' | 'type' | 'time' | 'actor' | 'modelId' | 'data'
>;

export type TelemetryKind = 'upload' | 'import' | 'deploy' | 'environment' | 'log';

export interface Telemetry {
  modelId: string;
  kind: TelemetryKind;
  step: string;
  done: number;
  total: number | null;
  unit: 'bytes' | 'steps' | 'percent' | 'seconds';
  message: string | null;
}

export interface User {
  id: string;
  username: string;
  role: Role;
}

export interface Session {
  user: User;
}

export interface Person extends User {
  createdAt: string;
}

export interface AccessToken {
  id: string;
  name: string;
  /** The beginning of the token, to tell one from another. */
  prefix: string;
  createdAt: string;
  lastUsedAt: string | null;
}

export interface CreatedAccessToken extends Accepted {
  /** Shown once; the server keeps only its hash. */
  token: string;
}
