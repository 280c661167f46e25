import type { ImportSource } from './api/types';
import { SOURCE_NAMES } from './origin-words';

export type EventTone = 'neutral' | 'active' | 'good' | 'bad';

interface EventWords {
  text: string;
  tone: EventTone;
}

type Data = Record<string, unknown>;

const WORDS: Record<string, { tone: EventTone; text: (data: Data) => string }> = {
  ModelImportRequested: {
    tone: 'active',
    text: (data) => `Import of ${word(data['fileName']) ?? word(data['name']) ?? 'the model'} requested${from(data)}`,
  },
  ModelVersionRequested: {
    tone: 'active',
    text: (data) => `Import of version ${word(data['version']) ?? '?'} requested${from(data)}`,
  },
  ModelRiskAccepted: {
    tone: 'neutral',
    text: (data) => `Risk accepted (${risks(data['risks'])}): ${word(data['reason']) ?? 'no reason was given'}`,
  },
  ModelSourceFetched: { tone: 'neutral', text: (data) => `${word(data['fileCount']) ?? 'All'} files fetched` },
  ModelImageInspected: { tone: 'neutral', text: (data) => `Image ${word(data['reference']) ?? ''} inspected` },
  ModelArchiveReceived: { tone: 'neutral', text: () => 'Upload complete' },
  ModelFilesStored: { tone: 'neutral', text: (data) => `${word(data['fileCount']) ?? 'All'} files stored` },
  ModelValidated: { tone: 'good', text: () => 'Validated: ready to deploy' },
  ModelImportFailed: { tone: 'bad', text: (data) => `Import failed: ${word(data['reason']) ?? 'no reason was given'}` },
  ModelImportRetried: { tone: 'active', text: () => 'Import retried' },
  ModelImportCancelled: { tone: 'neutral', text: () => 'Import cancelled' },
  ModelConfigurationEdited: { tone: 'neutral', text: () => 'Description, labels or links edited' },
  ModelCurrentVersionSelected: { tone: 'neutral', text: (data) => `Version ${word(data['version']) ?? '?'} made current` },
  ModelTemplateUpdated: { tone: 'neutral', text: () => 'Deployment template updated' },
  ModelPublished: { tone: 'good', text: () => 'Published to the marketplace' },
  ModelWithdrawn: { tone: 'neutral', text: () => 'Withdrawn from the marketplace' },
  ModelDeleted: { tone: 'bad', text: () => 'Deleted' },
  TermsAccepted: { tone: 'neutral', text: (data) => `Terms accepted (version ${word(data['termsVersion']) ?? 'unknown'})` },
  DeploymentRequested: {
    tone: 'active',
    text: (data) => `${TRIGGERS[word(data['trigger']) ?? ''] ?? 'Deployment'} requested: revision ${revision(data)}`,
  },
  ReplicaStarted: { tone: 'active', text: (data) => `Engine started for revision ${revision(data)}` },
  ReplicaReady: { tone: 'good', text: (data) => `Replica of revision ${revision(data)} answers` },
  ReplicaLost: { tone: 'bad', text: (data) => `Replica of revision ${revision(data)} lost: ${word(data['reason']) ?? 'unknown'}` },
  ReplicaRetired: { tone: 'neutral', text: (data) => `Replica of revision ${revision(data)} retired` },
  DeploymentScaled: {
    tone: 'neutral',
    text: (data) => `Scaled from ${word(data['fromReplicas']) ?? '?'} to ${word(data['toReplicas']) ?? '?'} replicas: ${word(data['reason']) ?? ''}`,
  },
  RevisionDeployed: { tone: 'good', text: (data) => `Revision ${revision(data)} serves` },
  RevisionFailed: { tone: 'bad', text: (data) => `Revision ${revision(data)} failed: ${word(data['reason']) ?? 'unknown'}` },
  RevisionRetired: { tone: 'neutral', text: (data) => `Revision ${revision(data)} retired` },
  AdapterLoadRequested: { tone: 'active', text: (data) => `Adapter ${word(data['adapterName']) ?? ''} is to be loaded` },
  AdapterLoaded: { tone: 'good', text: (data) => `Adapter ${word(data['adapterName']) ?? ''} loaded` },
  AdapterUnloadRequested: { tone: 'active', text: (data) => `Adapter ${word(data['adapterName']) ?? ''} is to be unloaded` },
  AdapterUnloaded: {
    tone: 'neutral',
    text: (data) => `Adapter ${word(data['adapterName']) ?? ''} unloaded: ${word(data['reason']) ?? ''}`,
  },
  DeploymentStopRequested: { tone: 'active', text: () => 'Stop requested' },
  DeploymentStopped: { tone: 'neutral', text: () => 'Deployment stopped' },
  ApiKeyCreated: { tone: 'neutral', text: (data) => `API key "${word(data['name']) ?? ''}" created` },
  ApiKeyRevoked: { tone: 'neutral', text: () => 'API key revoked' },
};

const WORDS_ABOUT_OTHERS: typeof WORDS = {
  ImportBatchRequested: {
    tone: 'active',
    text: (data) => `Import of ${Array.isArray(data['modelIds']) ? data['modelIds'].length : 'several'} models from ${word(data['address']) ?? 'a list'} requested`,
  },
  ConnectionSaved: { tone: 'neutral', text: (data) => `Connection "${word(data['name']) ?? ''}" saved` },
  ConnectionRemoved: { tone: 'neutral', text: (data) => `Connection "${word(data['name']) ?? ''}" removed` },
  UserRegistered: {
    tone: 'neutral',
    text: (data) => `Account ${word(data['username']) ?? ''} made with the role ${word(data['role']) ?? 'unknown'}`,
  },
  UserRoleChanged: { tone: 'neutral', text: (data) => `Role changed to ${word(data['role']) ?? 'unknown'}` },
  UserPasswordChanged: { tone: 'neutral', text: () => 'Password changed' },
  AccessTokenCreated: { tone: 'neutral', text: (data) => `Access token "${word(data['name']) ?? ''}" created` },
  AccessTokenRevoked: { tone: 'neutral', text: () => 'Access token revoked' },
};

const TRIGGERS: Record<string, string> = {
  deploy: 'Deployment',
  redeploy: 'Redeployment',
  rollback: 'Rollback',
  start: 'Start',
  adapters: 'Restart for an adapter',
};

/** Every type of event about a model, for filters. */
export const MODEL_EVENT_TYPES = Object.keys(WORDS);

/** Every type of event, for the audit list. */
export const EVENT_TYPES = [...MODEL_EVENT_TYPES, ...Object.keys(WORDS_ABOUT_OTHERS)];

/** An event as a sentence. A type that this version does not know is spelled out from its name. */
export function eventWords(type: string, data: Data): EventWords {
  const known = WORDS[type] ?? WORDS_ABOUT_OTHERS[type];
  return known ? { text: known.text(camelKeys(data)), tone: known.tone } : { text: spellOut(type), tone: 'neutral' };
}

/** `user:admin` → "admin"; `worker:import` → "Import worker"; `system` → "System". */
export function actorText(actor: string): string {
  const [kind, name = ''] = actor.split(/:(.*)/);
  if (kind === 'user') return name;
  if (kind === 'worker') return `${capital(name)} worker`;
  return capital(actor);
}

/** `RevisionDeployed` → "Revision deployed". */
export function spellOut(type: string): string {
  return capital(type.replace(/([a-z0-9])([A-Z])/g, '$1 $2').toLowerCase());
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** The event contract names fields in snake case, the API in camel case; sentences are the same for both. */
function camelKeys(data: Data): Data {
  return Object.fromEntries(
    Object.entries(data).map(([name, value]) => [
      name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()),
      value,
    ]),
  );
}

function word(value: unknown): string | null {
  return (typeof value === 'string' && value !== '') || typeof value === 'number' ? String(value) : null;
}

/** Where an import comes from, as the end of its sentence; nothing for an upload. */
function from(data: Data): string {
  const source = word(data['source']);
  return source === null || source === 'upload' ? '' : ` (${source in SOURCE_NAMES ? SOURCE_NAMES[source as ImportSource] : source})`;
}

function risks(value: unknown): string {
  return Array.isArray(value) ? value.map((risk) => (risk === 'pickle' ? 'pickled weights' : 'custom code')).join(', ') : 'unknown';
}

function revision(data: Data): string {
  return word(data['revision']) ?? '?';
}
