/**
 * The JSON shapes of the API, from the generated description. Where that says only "string" for one of a few
 * words, the words are stated here.
 */
import type { components } from './schema';

type Schemas = components['schemas'];
type Narrow<Shape, Fields> = Omit<Shape, keyof Fields> & Fields;

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
export type Role = Schemas['Role'];

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

export type Accepted = Schemas['CommandAnswer'];

export type Actions = Schemas['Actions'];
export type ModelAction = keyof Actions;

interface ModelWords {
  kind: ModelKind;
  state: ModelState;
  publication: Publication;
  deploymentState: DeploymentState | null;
}
export type ModelSummary = Narrow<Schemas['ModelSummary'], ModelWords>;
export type ModelCard = Required<Schemas['Card']>;
export type ReportCheck = Narrow<Required<Schemas['Check']>, { outcome: 'pass' | 'warn' | 'fail' }>;
export type ImportStep = Narrow<
  Schemas['ImportStep'],
  { state: 'pending' | 'running' | 'done' | 'failed' }
>;
export type ModelDetail = Narrow<
  Schemas['ModelDetail'],
  ModelWords & {
    source: ImportSource;
    card: ModelCard | null;
    report: { checks: ReportCheck[] } | null;
    importSteps: ImportStep[];
  }
>;
export type ModelFile = Schemas['ModelFile'];

export type Risk = 'pickle' | 'custom_code';
/** Consent to what policy blocks, for one version; the reason stands in the history. */
export interface Consent {
  risks: Risk[];
  reason: string;
}
export type ImportSource = 'upload' | 'huggingface' | 'url' | 'path' | 'container_image' | 'manual';
/** What `POST /api/imports` takes: the source, and what that source needs. */
export interface ImportBody {
  source: ImportSource;
  modelId?: string;
  acceptedRisks?: Consent;
  [field: string]: unknown;
}
/** What an import would find and write; nothing was written. */
export type ImportCheck = Narrow<
  Schemas['DryRun'],
  { report: { checks: ReportCheck[] } | null; card: ModelCard | null }
>;
export type Inspection = Required<Schemas['Inspection']>;
export type ImportPreview = Schemas['ImportPreview'];
export type OfferedModel = Schemas['OfferedModel'];
export type BatchAnswer = Schemas['BatchAnswer'];
export type BatchRow = Narrow<Schemas['BatchRow'], { state: ModelState | 'deleted' }>;
export type Batch = Narrow<Schemas['Batch'], { rows: BatchRow[]; states: Partial<Record<BatchRow['state'], number>> }>;
export type ModelVersion = Narrow<
  Schemas['VersionView'],
  {
    state: ModelState;
    source: ImportSource;
    card: ModelCard | null;
    report: { checks: ReportCheck[] } | null;
    importSteps: ImportStep[];
  }
>;
export type VersionComparison = Schemas['Comparison'];

export type PlacedReplica = Narrow<Required<Schemas['PlacedReplica']>, { state: 'starting' | 'ready' | 'draining' }>;
export type Capacity = Required<Schemas['CapacityView']>;
export type ServerRegistration = Narrow<Schemas['RegistrationView'], { engine: 'vllm' | 'triton'; capacity: Capacity }>;
/** A machine of the platform, or a server that was registered. */
export type Server = Narrow<
  Schemas['ServerState'],
  { state: 'ready' | 'draining' | 'lost'; replicas: PlacedReplica[]; registration: ServerRegistration | null }
>;
export type LoadPoint = Schemas['LoadPoint'];
export type ServerTrial = Schemas['ServerTrial'];

export type ConnectionKind = 'huggingface' | 'registry' | 's3' | 'http';
export type Parked = Required<Schemas['Parked']>;
export type Connection = Narrow<Schemas['ConnectionView'], { kind: ConnectionKind }>;
/** Only the first page of a list carries facets. */
export type ModelPage = Narrow<Schemas['ModelPage'], { items: ModelSummary[] }>;
export type Facets = NonNullable<ModelPage['facets']>;

export type DeployConfiguration = Narrow<
  Required<Schemas['ConfigurationView']>,
  {
    optimization: Narrow<Required<Schemas['OptimizationView']>, { method: OptimizationMethod }>;
    hardware: Narrow<Schemas['HardwareView'], { accelerator: Accelerator }>;
  }
>;
type OptimizationMethod = 'skip' | 'ctranslate2' | 'vllm';
type Accelerator = 'cpu' | 'gpu';

export type Replica = Schemas['ReplicaView'];
/** A configuration that is kept and not deployed. */
export type PendingConfiguration = Narrow<Schemas['PendingView'], { configuration: DeployConfiguration }>;
export type Deployment = Narrow<
  Schemas['DeploymentView'],
  { state: DeploymentState; configuration: DeployConfiguration; pending: PendingConfiguration | null }
>;
export type HeldAdapter = Narrow<
  Schemas['AdapterView'],
  { state: 'loading' | 'loaded' | 'unloading' | 'failed' | null }
>;
export type AdapterList = Narrow<Schemas['AdapterList'], { items: HeldAdapter[] }>;
export type ConfigurationChange = Schemas['Change'];
export type PhaseName =
  | 'preparing'
  | 'queued'
  | 'environment'
  | 'files'
  | 'optimizing'
  | 'starting'
  | 'switching'
  | 'draining';
export type Phase = Narrow<Schemas['PhaseView'], { name: PhaseName; state: 'running' | 'done' | 'failed' }>;
export type HistoryEntry = Narrow<
  Schemas['HistoryEntry'],
  {
    trigger: 'deploy' | 'redeploy' | 'rollback' | 'start' | 'adapters';
    outcome: 'pending' | 'deployed' | 'failed' | 'superseded';
    configuration: DeployConfiguration;
    phases: Phase[];
  }
>;
export type HistoryPage = Narrow<Schemas['History'], { items: HistoryEntry[] }>;
export type RevisionComparison = Narrow<
  Schemas['RevisionComparison'],
  { before: HistoryEntry; after: HistoryEntry }
>;
/** What a deployment would come to; nothing was written. */
export type Rehearsal = Narrow<Schemas['Rehearsal'], { checks: ReportCheck[] }>;
export type EngineLog = Schemas['EngineLog'];
export type DeployServer = Narrow<Schemas['ServerView'], { accelerator: Accelerator; accelerators: Accelerator[] }>;
export interface QuantizationOption {
  name: string;
  available: boolean;
  reason: string | null;
}
export type OptimizationOption = Narrow<
  Schemas['OptimizationOption'],
  {
    method: OptimizationMethod;
    /** The engine that serves what the method makes; null where any does. */
    engine?: string | null;
    /** Every quantization, with why one does not fit here. */
    methods?: QuantizationOption[];
    note?: string | null;
  }
>;
export type EngineOption = Schemas['EngineOption'];
/** What an engine can be told beyond the form; nothing is known before it was installed. */
export interface EngineOptions {
  engine: string;
  accelerator: string;
  known: boolean;
  version: string | null;
  options: { name: string; kind: string; choices: string[]; many: boolean; help: string }[];
}
/** Amounts are decimal texts; null where nobody has set that price. */
export interface CostEstimate {
  currency: string | null;
  replicaPerHour: string | null;
  perHour: { least: string | null; most: string | null };
  perMonth: { least: string | null; most: string | null };
  perMillionInput: string | null;
  perMillionOutput: string | null;
}
export type DeployOptions = Narrow<
  Schemas['DeployOptions'],
  { servers: DeployServer[]; defaults: DeployConfiguration; optimizations: OptimizationOption[] }
>;

export type UsageItem = Narrow<Schemas['UsageItem'], { kind: 'key' | 'playground' | 'hardware' | 'all' }>;
export type UsageReport = Narrow<Schemas['UsageReport'], { items: UsageItem[]; total: UsageItem }>;
export type Prices = Schemas['PricesView'];

export type ApiKeyItem = Schemas['ApiKeyView'];
/** Carries the secret, which is shown once: the server keeps only its hash. */
export type CreatedApiKey = Schemas['CreatedApiKey'];
export type PlaygroundToken = Schemas['PlaygroundToken'];
export type MarketplaceItem = Schemas['MarketplaceItem'];

export type EventItem = Schemas['EventItem'];
export type EventPage = Schemas['EventPage'];
export type OutcomeEvent = Schemas['Notification'];
/** What the live stream sends for an event. */
export type LiveEvent = Omit<OutcomeEvent, 'modelName'>;

export type TelemetryKind = 'upload' | 'import' | 'deploy' | 'environment' | 'log';

/** A reading of work in progress. It travels on the live stream only, which OpenAPI does not describe. */
export interface Telemetry {
  modelId: string;
  kind: TelemetryKind;
  step: string;
  done: number;
  total: number | null;
  unit: 'bytes' | 'steps' | 'percent' | 'seconds';
  message: string | null;
}

export type User = Schemas['UserView'];
export type Session = Schemas['SessionView'];
export type Person = Narrow<Schemas['PersonView'], { role: Role }>;
export type AccessToken = Schemas['TokenView'];
/** Carries the token, which is shown once: the server keeps only its hash. */
export type CreatedAccessToken = Schemas['CreatedToken'];
