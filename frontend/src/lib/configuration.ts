import type { DeployConfiguration } from './api/types';
import { formatNumber } from './format';

export type ConfigurationSection = 'optimization' | 'parameters' | 'scaling' | 'hardware' | 'engine';

/** Paths of the numeric fields, as they appear in the JSON document. */
export type NumberPath =
  | 'parameters.temperature'
  | 'parameters.maxTokens'
  | 'parameters.topP'
  | 'parameters.topK'
  | 'parameters.batchSize'
  | 'scaling.minReplicas'
  | 'scaling.maxReplicas'
  | 'scaling.scaleUpDelaySeconds'
  | 'scaling.scaleDownDelaySeconds'
  | 'hardware.acceleratorCount'
  | 'hardware.memoryGib';

export interface NumberField {
  label: string;
  explanation: string;
  min: number;
  max: number;
  step: number;
  integer: boolean;
  unit?: string;
}

/** What each number means and which values the server accepts. */
export const NUMBER_FIELDS: Record<NumberPath, NumberField> = {
  'parameters.temperature': {
    label: 'Temperature',
    explanation: 'How freely tokens are drawn. 0 always takes the most likely one; higher values vary more.',
    min: 0, max: 2, step: 0.1, integer: false,
  },
  'parameters.maxTokens': {
    label: 'Maximum length',
    explanation: 'The most tokens one answer may have when a request does not say.',
    min: 1, max: 1_048_576, step: 1, integer: true, unit: 'tokens',
  },
  'parameters.topP': {
    label: 'Top p',
    explanation: 'Only the most likely tokens that together reach this probability are drawn from. 1 keeps all.',
    min: 0.01, max: 1, step: 0.05, integer: false,
  },
  'parameters.topK': {
    label: 'Top k',
    explanation: 'Only this many of the most likely tokens are drawn from. -1 keeps all.',
    min: -1, max: 1_000_000, step: 1, integer: true,
  },
  'parameters.batchSize': {
    label: 'Inference batch size',
    explanation: 'How many requests one replica works on together. More needs more memory.',
    min: 1, max: 1024, step: 1, integer: true, unit: 'requests',
  },
  'scaling.minReplicas': {
    label: 'Minimum replicas',
    explanation: 'Engines that run even without any requests. With 0, the first request waits for an engine to start.',
    min: 0, max: 64, step: 1, integer: true,
  },
  'scaling.maxReplicas': {
    label: 'Maximum replicas',
    explanation: 'The most engines that run under load.',
    min: 1, max: 64, step: 1, integer: true,
  },
  'scaling.scaleUpDelaySeconds': {
    label: 'Scale-up delay',
    explanation: 'How long more replicas must have been needed before they start.',
    min: 0, max: 86_400, step: 5, integer: true, unit: 's',
  },
  'scaling.scaleDownDelaySeconds': {
    label: 'Scale-down delay',
    explanation: 'How long fewer replicas must have been needed before they stop.',
    min: 0, max: 86_400, step: 5, integer: true, unit: 's',
  },
  'hardware.acceleratorCount': {
    label: 'GPUs for each replica',
    explanation: 'The model is split over this many.',
    min: 0, max: 64, step: 1, integer: true,
  },
  'hardware.memoryGib': {
    label: 'Memory for each replica',
    explanation: 'Holds the weights and the cache of running requests.',
    min: 0.5, max: 4096, step: 0.5, integer: false, unit: 'GiB',
  },
};

/** The accepted values as a sentence. */
export function limitsText(path: NumberPath): string {
  const { min, max, unit } = NUMBER_FIELDS[path];
  const end = unit === undefined ? '.' : ` ${unit}.`;
  const [least, most] = [formatNumber(path === 'parameters.topK' ? 1 : min), formatNumber(max)];
  return `Allowed: ${least} to ${most}${end}`;
}

export const MAX_STOP_SEQUENCES = 4;
export const MAX_STOP_LENGTH = 64;

const OTHER_LABELS: Record<string, string> = {
  engine: 'Engine',
  modelVersion: 'Model version',
  'optimization.method': 'Optimization',
  'optimization.quantization': 'Quantization',
  'parameters.stop': 'Stop sequences',
  'hardware.server': 'Server',
  'hardware.accelerator': 'Accelerator',
  'hardware.gpuSharing': 'GPUs',
};

const METHODS: Record<string, string> = { skip: 'Skipped', ctranslate2: 'CTranslate2', vllm: 'vLLM' };
const ENGINES: Record<string, string> = { vllm: 'vLLM', triton: 'Triton', ollama: 'Ollama', container: 'Container image' };

const SHARING: Record<string, string> = { exclusive: 'To itself', memory: 'Shared by memory' };
/** What says something only where there are GPUs. */
const OF_GPUS = new Set(['hardware.acceleratorCount', 'hardware.gpuSharing']);

const SECTIONS: { section: ConfigurationSection; title: string; paths: string[] }[] = [
  { section: 'optimization', title: 'Optimization', paths: ['optimization.method', 'optimization.quantization'] },
  {
    section: 'parameters',
    title: 'Parameters',
    paths: [
      'parameters.temperature', 'parameters.maxTokens', 'parameters.topP', 'parameters.topK',
      'parameters.stop', 'parameters.batchSize',
    ],
  },
  {
    section: 'scaling',
    title: 'Scaling',
    paths: [
      'scaling.minReplicas', 'scaling.maxReplicas', 'scaling.scaleUpDelaySeconds', 'scaling.scaleDownDelaySeconds',
    ],
  },
  {
    section: 'hardware',
    title: 'Hardware',
    paths: [
      'hardware.server', 'hardware.accelerator', 'hardware.acceleratorCount', 'hardware.memoryGib', 'hardware.gpuSharing',
    ],
  },
  { section: 'engine', title: 'Engine', paths: ['engine'] },
];

export interface ConfigurationRow {
  path: string;
  label: string;
  value: string;
}

export interface ConfigurationGroup {
  section: ConfigurationSection;
  title: string;
  rows: ConfigurationRow[];
}

export interface Difference {
  path: string;
  label: string;
  /** Null where the field is not set on that side. */
  before: string | null;
  after: string | null;
}

/** The configuration as a person reads it, section by section. */
export function describeConfiguration(configuration: DeployConfiguration): ConfigurationGroup[] {
  return SECTIONS.map(({ section, title, paths }) => {
    const all =
      section === 'engine' ? [...paths, ...Object.keys(configuration.engineArguments).sort().map(argumentPath)] : paths;
    return {
      section,
      title,
      rows: all.flatMap((path) => {
        const value = readField(configuration, path);
        const meaningless = OF_GPUS.has(path) && configuration.hardware.accelerator === 'cpu';
        return value === null || meaningless ? [] : [{ path, label: fieldLabel(path), value }];
      }),
    };
  });
}

/** What changes from one configuration to another, in the order in which a person reads it. */
export function configurationDifferences(before: DeployConfiguration, after: DeployConfiguration): Difference[] {
  const names = new Set([...Object.keys(before.engineArguments), ...Object.keys(after.engineArguments)]);
  const paths = [...SECTIONS.flatMap((section) => section.paths), ...[...names].sort().map(argumentPath)];
  return paths
    .map((path) => ({
      path,
      label: fieldLabel(path),
      before: readField(before, path),
      after: readField(after, path),
    }))
    .filter((difference) => difference.before !== difference.after);
}

export function fieldLabel(path: string): string {
  if (path in NUMBER_FIELDS) return NUMBER_FIELDS[path as NumberPath].label;
  return OTHER_LABELS[path] ?? path.replace(/^engineArguments\./, '');
}

/**
 * A field as the server names it in a problem, as this document's path:
 * `configuration.parameters.max_tokens` → `parameters.maxTokens`. Names of engine arguments stay as they are.
 */
export function problemPath(field: string): string {
  const path = field.replace(/^configuration\./, '');
  const [, argument] = /^engine_?arguments\.(.+)$/i.exec(path) ?? [];
  return argument === undefined ? camelCase(path) : argumentPath(argument);
}

export interface ReadConfiguration {
  configuration: DeployConfiguration;
  /** Paths of the fields that mean nothing here, or hold another kind of value. */
  unknown: string[];
}

/**
 * Reads a `deployconfig.json`, with field names as the API or as the events write them; fields that it lacks
 * come from `defaults`. Throws an Error that says what is wrong.
 */
export function readDeployConfigFile(text: string, defaults: DeployConfiguration): ReadConfiguration {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new Error('The file is not JSON. Choose a deployconfig.json that was downloaded from Loggia.');
  }
  if (!isObject(document)) {
    throw new Error('The file does not hold one configuration. Choose a deployconfig.json that was downloaded from Loggia.');
  }
  const { engine_arguments: snake, engineArguments: camel, ...rest } = document;
  const given = renameKeys(rest, camelCase) as Record<string, unknown>;
  if (given['schemaVersion'] !== undefined && given['schemaVersion'] !== defaults.schemaVersion) {
    throw new Error(
      `The file has version ${JSON.stringify(given['schemaVersion'])} of the format; this Loggia reads version ${defaults.schemaVersion}.`,
    );
  }
  const unknown: string[] = [];
  const { engineArguments, ...known } = defaults;
  const read = withKnown(known, given, '', unknown);
  const givenArguments = snake ?? camel;
  if (givenArguments !== undefined && !isObject(givenArguments)) unknown.push('engineArguments');
  return {
    configuration: {
      ...read,
      engineArguments: isObject(givenArguments)
        ? Object.fromEntries(Object.entries(givenArguments).map(([name, value]) => [name, plain(value)]))
        : read.engine === defaults.engine
          ? engineArguments
          : {},
    },
    unknown,
  };
}

/** Takes over the values whose names and kinds are those of the defaults, and notes the others. */
function withKnown<T extends object>(defaults: T, given: Record<string, unknown>, place: string, unknown: string[]): T {
  for (const name of Object.keys(given)) if (!(name in defaults)) unknown.push(`${place}${name}`);
  const known = Object.entries(defaults).map(([name, value]: [string, unknown]) => {
    if (!(name in given)) return [name, value];
    const candidate = given[name];
    if (isObject(value) && isObject(candidate)) return [name, withKnown(value, candidate, `${place}${name}.`, unknown)];
    const mayBeNull = name === 'quantization';
    const sameKind = mayBeNull ? candidate === null || typeof candidate === 'string' : kind(candidate) === kind(value);
    if (!sameKind) unknown.push(`${place}${name}`);
    return [name, sameKind ? candidate : value];
  });
  return Object.fromEntries(known) as T;
}

function kind(value: unknown): string {
  return Array.isArray(value) ? 'array' : typeof value;
}

function argumentPath(name: string): string {
  return `engineArguments.${name}`;
}

function readField(configuration: DeployConfiguration, path: string): string | null {
  if (path.startsWith('engineArguments.')) {
    return configuration.engineArguments[path.slice('engineArguments.'.length)] ?? null;
  }
  let value: unknown = configuration;
  for (const name of path.split('.')) value = isObject(value) ? value[name] : undefined;
  return fieldText(path, value);
}

/** A field's value as a person reads it; null where it is not set. */
export function fieldText(path: string, value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (Array.isArray(value)) return value.length === 0 ? 'None' : value.map((item) => JSON.stringify(item)).join('  ');
  if (path === 'optimization.method') return METHODS[plain(value)] ?? plain(value);
  if (path === 'hardware.accelerator') return plain(value).toUpperCase();
  if (path === 'hardware.gpuSharing') return SHARING[plain(value)] ?? plain(value);
  if (path === 'engine') return ENGINES[plain(value)] ?? plain(value);
  if (path === 'parameters.topK' && value === -1) return 'All (-1)';
  if (path in NUMBER_FIELDS && typeof value === 'number') {
    const { unit } = NUMBER_FIELDS[path as NumberPath];
    const number = new Intl.NumberFormat('en', { maximumFractionDigits: 6 }).format(value);
    return unit === undefined ? number : `${number} ${unit}`;
  }
  return plain(value);
}

function plain(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function renameKeys(value: unknown, rename: (name: string) => string): unknown {
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [rename(name), renameKeys(item, rename)]));
}
