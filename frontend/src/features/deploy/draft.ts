import type { DeployConfiguration, DeployOptions, DeployServer, EngineOption, EngineOptions } from '@/lib/api/types';
import { MAX_STOP_LENGTH, MAX_STOP_SEQUENCES, NUMBER_FIELDS, type NumberPath } from '@/lib/configuration';
import { formatNumber } from '@/lib/format';
import { newId } from '@/lib/new-id';

export type StepId = 'general' | 'optimization' | 'parameters' | 'hardware' | 'review';

export interface EngineArgument {
  /** Identifies the row while its name is being typed. */
  id: string;
  name: string;
  value: string;
}

/** The wizard's values while they are being typed: a number may be empty. */
export interface Draft {
  engine: string;
  optimization: DeployConfiguration['optimization'];
  numbers: Record<NumberPath, number | ''>;
  stop: string[];
  hardware: Pick<DeployConfiguration['hardware'], 'server' | 'accelerator' | 'gpuSharing'>;
  engineArguments: EngineArgument[];
}

/** What the server offers. */
export type Offered = Pick<DeployOptions, 'servers' | 'optimizations' | 'engines' | 'defaults'>;

/** Messages by path of the field. */
export type Problems = Record<string, string>;

const ARGUMENT_NAME = /^[a-z][a-z0-9_]{0,63}$/;
const MAX_ARGUMENT_LENGTH = 1000;
/** Arguments that Loggia sets itself from the other fields, with the place where they belong. */
const OWN_ARGUMENTS: Record<string, string> = {
  model: 'the model itself',
  served_model_name: 'the model itself',
  host: 'the deploy worker',
  port: 'the deploy worker',
  api_key: 'the gateway',
};

export function draftOf(configuration: DeployConfiguration): Draft {
  const { parameters, scaling, hardware } = configuration;
  return {
    engine: configuration.engine,
    optimization: configuration.optimization,
    numbers: {
      'parameters.temperature': parameters.temperature,
      'parameters.maxTokens': parameters.maxTokens,
      'parameters.topP': parameters.topP,
      'parameters.topK': parameters.topK,
      'parameters.batchSize': parameters.batchSize,
      'scaling.minReplicas': scaling.minReplicas,
      'scaling.maxReplicas': scaling.maxReplicas,
      'scaling.scaleUpDelaySeconds': scaling.scaleUpDelaySeconds,
      'scaling.scaleDownDelaySeconds': scaling.scaleDownDelaySeconds,
      'hardware.acceleratorCount': hardware.acceleratorCount,
      'hardware.memoryGib': hardware.memoryGib,
    },
    stop: parameters.stop,
    hardware: { server: hardware.server, accelerator: hardware.accelerator, gpuSharing: hardware.gpuSharing },
    engineArguments: Object.entries(configuration.engineArguments).map(([name, value]) => ({ id: newId(), name, value })),
  };
}

/** The complete configuration; `base` gives what the wizard does not ask. An empty number becomes NaN. */
export function configurationOf(draft: Draft, base: DeployConfiguration): DeployConfiguration {
  const number = (path: NumberPath) => {
    const value = draft.numbers[path];
    return value === '' ? Number.NaN : value;
  };
  return {
    schemaVersion: base.schemaVersion,
    engine: draft.engine,
    optimization: draft.optimization,
    parameters: {
      temperature: number('parameters.temperature'),
      maxTokens: number('parameters.maxTokens'),
      topP: number('parameters.topP'),
      topK: number('parameters.topK'),
      stop: draft.stop,
      batchSize: number('parameters.batchSize'),
    },
    scaling: {
      minReplicas: number('scaling.minReplicas'),
      maxReplicas: number('scaling.maxReplicas'),
      scaleUpDelaySeconds: number('scaling.scaleUpDelaySeconds'),
      scaleDownDelaySeconds: number('scaling.scaleDownDelaySeconds'),
    },
    hardware: {
      ...draft.hardware,
      acceleratorCount: number('hardware.acceleratorCount'),
      memoryGib: number('hardware.memoryGib'),
    },
    engineArguments: Object.fromEntries(
      draft.engineArguments
        .filter(({ name, value }) => name.trim() !== '' || value.trim() !== '')
        .map(({ name, value }) => [name.trim(), value.trim()]),
    ),
  };
}

/**
 * Another engine or server: the arguments that the defaults gave go with what they are for, and come back with it.
 * Those that a person has typed stay.
 */
export function choosing(draft: Draft, choice: Partial<Draft>, options: Offered): Partial<Draft> {
  const before = defaultArguments(draft, options);
  const after = defaultArguments({ ...draft, ...choice }, options);
  const kept = draft.engineArguments.filter(({ name, value }) => before[name] !== value || name in after);
  const added = Object.entries(after).filter(([name]) => !(name in before) && kept.every((argument) => argument.name !== name));
  return { ...choice, engineArguments: [...kept, ...added.map(([name, value]) => ({ id: newId(), name, value }))] };
}

function defaultArguments(draft: Draft, offered: Offered): Record<string, string> {
  const { defaults } = offered;
  return draft.engine === defaults.engine && !runsAlready(draft, offered) ? defaults.engineArguments : {};
}

/** Whether the chosen server serves with what it was started with. */
function runsAlready({ hardware }: Draft, { servers }: Offered): boolean {
  return servers.find(({ name }) => name === hardware.server)?.preset ?? false;
}

/** Everything that the server would refuse, by field. Empty when the draft may be sent. */
export function draftProblems(draft: Draft, options: Offered, engineOptions?: EngineOptions): Problems {
  return {
    ...engineProblems(draft, options),
    ...optimizationProblems(draft, options),
    ...numberProblems(draft),
    ...stopProblems(draft),
    ...hardwareProblems(draft, options),
    ...argumentProblems(draft, options, engineOptions),
  };
}

/** The step on which a field is edited. */
export function stepOf(path: string): StepId {
  if (path.startsWith('optimization')) return 'optimization';
  if (path.startsWith('parameters') || path.startsWith('scaling') || path.startsWith('engineArguments')) return 'parameters';
  if (path.startsWith('hardware')) return 'hardware';
  if (path.startsWith('engine')) return 'optimization';
  if (['schemaVersion', 'description', 'labels'].some((name) => path.startsWith(name))) return 'general';
  return 'review';
}

/** The path under which a row's problem is kept: the argument's name, as the server says it too. */
export function argumentPath({ id, name }: EngineArgument): string {
  return `engineArguments.${name.trim() === '' ? id : name.trim()}`;
}

function engineProblems(draft: Draft, { engines, optimizations }: Offered): Problems {
  const chosen = engines.find(({ name }) => name === draft.engine);
  if (!chosen?.available) return { engine: chosen?.reason ?? 'This engine is not available. Choose another one.' };
  const offered = optimizations.find(({ method }) => method === draft.optimization.method)?.available;
  if (!offered || chosen.methods.includes(draft.optimization.method)) return {};
  return { engine: `${chosen.label} does not serve the model with this optimization. Choose another engine.` };
}

function optimizationProblems(draft: Draft, { optimizations }: Offered): Problems {
  const { method, quantization } = draft.optimization;
  const chosen = optimizations.find((option) => option.method === method);
  if (!chosen?.available) {
    return { 'optimization.method': chosen?.reason ?? 'This optimization is not available. Choose another one.' };
  }
  if (method !== 'skip' && quantization === null) return { 'optimization.quantization': 'Choose a quantization.' };
  const named = chosen.methods?.find(({ name }) => name === quantization);
  if (named?.available === false) {
    return { 'optimization.quantization': named.reason ?? 'This quantization is not available here.' };
  }
  return {};
}

function numberProblems({ numbers }: Draft): Problems {
  const problems: Problems = {};
  for (const path of Object.keys(NUMBER_FIELDS) as NumberPath[]) {
    const problem = numberProblem(path, numbers[path]);
    if (problem !== null) problems[path] = problem;
  }
  const least = numbers['scaling.minReplicas'];
  const most = numbers['scaling.maxReplicas'];
  if (least !== '' && most !== '' && least > most && !problems['scaling.maxReplicas']) {
    problems['scaling.minReplicas'] ??= 'Lower the minimum, or raise the maximum.';
  }
  return problems;
}

function numberProblem(path: NumberPath, value: number | ''): string | null {
  const { min, max, integer } = NUMBER_FIELDS[path];
  if (value === '' || Number.isNaN(value)) return 'Enter a number.';
  if (integer && !Number.isInteger(value)) return 'Enter a whole number.';
  if (path === 'parameters.topK') {
    return value === -1 || (value >= 1 && value <= max) ? null : `Use -1 for all tokens, or 1 to ${formatNumber(max)}.`;
  }
  return value >= min && value <= max ? null : `Use a value from ${formatNumber(min)} to ${formatNumber(max)}.`;
}

function stopProblems({ stop }: Draft): Problems {
  if (stop.length > MAX_STOP_SEQUENCES) return { 'parameters.stop': `Give at most ${MAX_STOP_SEQUENCES} stop sequences.` };
  if (stop.some((sequence) => sequence.length === 0 || sequence.length > MAX_STOP_LENGTH)) {
    return { 'parameters.stop': `A stop sequence has 1 to ${MAX_STOP_LENGTH} characters.` };
  }
  return {};
}

function hardwareProblems(draft: Draft, { servers, engines }: Offered): Problems {
  const server = servers.find(({ name }) => name === draft.hardware.server);
  if (server === undefined) return { 'hardware.server': 'Choose a server.' };
  const unfit = unfitness(server, draft.engine, engines);
  if (unfit !== null) return { 'hardware.server': unfit };
  if (server.preset && draft.optimization.method !== 'skip') {
    return { 'hardware.server': `${server.name} serves what it was started with. Choose another server, or no optimization.` };
  }
  const { accelerator } = draft.hardware;
  if (!server.accelerators.includes(accelerator)) {
    return { 'hardware.accelerator': `${server.name} has ${accelerator === 'gpu' ? 'no GPU' : 'GPUs'}. Choose what it has.` };
  }
  const problems: Problems = {};
  const memory = draft.numbers['hardware.memoryGib'];
  const count = draft.numbers['hardware.acceleratorCount'];
  const most = server.gpus.length === 0 ? Infinity : server.gpus.length;
  if (accelerator === 'gpu' && count !== '' && (count < 1 || count > most)) {
    problems['hardware.acceleratorCount'] = most === Infinity ? 'Use at least 1.' : `Use 1 to ${most}: ${server.name} has no more.`;
  }
  const room = roomOf(server, accelerator, count === '' ? 1 : count);
  if (memory !== '' && room !== null && memory > room) {
    const more = accelerator === 'gpu' && count !== '' && count < server.gpus.length ? 'Use more GPUs, or ask for less.' : 'Ask for less.';
    problems['hardware.memoryGib'] = `${server.name} has ${formatNumber(room)} GiB for a replica. ${more}`;
  }
  return problems;
}

/** Why no replica of the engine can ever be on the server; null where it can. */
export function unfitness(server: DeployServer, engine: string, engines: readonly EngineOption[]): string | null {
  if (!server.fits) return server.reason ?? 'The model does not fit on this server. Choose another one.';
  if (server.engines.includes(engine)) return null;
  const label = (name: string) => engines.find((known) => known.name === name)?.label ?? name;
  return `It runs ${server.engines.map(label).join(', ')}, and not ${label(engine)}.`;
}

/** The most GiB that a replica can have there; null where it is not known. */
function roomOf(server: DeployServer, accelerator: string, count: number): number | null {
  if (accelerator === 'cpu') return server.memoryGib;
  const sizes = server.gpus.map(({ memoryGib }) => memoryGib).filter((size) => size !== null);
  // Each of them holds an equal part.
  const smallest = sizes.toSorted((one, other) => other - one)[count - 1];
  return smallest === undefined ? null : smallest * count;
}

function argumentProblems(draft: Draft, offered: Offered, engineOptions?: EngineOptions): Problems {
  const { engineArguments, hardware } = draft;
  const problems: Problems = {};
  const preset = runsAlready(draft, offered);
  const seen = new Set<string>();
  for (const argument of engineArguments) {
    const name = argument.name.trim();
    const value = argument.value.trim();
    if (name === '' && value === '') continue;
    const path = argumentPath(argument);
    if (!ARGUMENT_NAME.test(name)) problems[path] = 'Write the name with lower-case letters, digits and underscores, without dashes.';
    else if (OWN_ARGUMENTS[name]) problems[path] = `This one is set by ${OWN_ARGUMENTS[name]}. Remove it here.`;
    else if (preset) problems[path] = `${hardware.server} runs already, with the arguments that it was started with. Remove this one.`;
    else if (seen.has(name)) problems[path] = 'This name is given twice. Remove one of them.';
    else if (value.length > MAX_ARGUMENT_LENGTH) problems[path] = `Shorten the value to ${MAX_ARGUMENT_LENGTH} characters.`;
    else if (engineOptions?.known) {
      const refusal = optionRefusal(name, value, engineOptions);
      if (refusal !== null) problems[path] = refusal;
    }
    seen.add(name);
  }
  return problems;
}

/** What the engine itself would say against the argument. */
function optionRefusal(name: string, value: string, { options, engine, version }: EngineOptions): string | null {
  const option = options.find((candidate) => candidate.name === name);
  if (option === undefined) return `${engine} ${version ?? ''} has no option of this name that a deployment may set.`;
  if (option.kind === 'switch') return /^(true|false)$/i.test(value) ? null : 'Write true or false.';
  const values = option.many ? value.split(/\s+/) : [value];
  if (option.kind === 'int' && !values.every((each) => /^[+-]?\d+$/.test(each))) return 'Write a whole number.';
  if (option.kind === 'float' && !values.every((each) => each !== '' && Number.isFinite(Number(each)))) return 'Write a number.';
  const wrong = option.choices.length === 0 ? undefined : values.find((each) => !option.choices.includes(each));
  return wrong === undefined ? null : `'${wrong}' is not a choice. Choose from ${option.choices.join(', ')}.`;
}
