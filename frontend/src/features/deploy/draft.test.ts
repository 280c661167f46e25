import { describe, expect, it } from 'vitest';
import type { DeployConfiguration, DeployServer, EngineOptions } from '@/lib/api/types';
import { choosing, configurationOf, draftOf, draftProblems, stepOf, type Draft, type Offered } from './draft';

const base: DeployConfiguration = {
  schemaVersion: 1,
  engine: 'vllm',
  optimization: { method: 'skip', quantization: null },
  parameters: { temperature: 1, maxTokens: 256, topP: 1, topK: -1, stop: ['END'], batchSize: 8 },
  scaling: { minReplicas: 1, maxReplicas: 2, scaleUpDelaySeconds: 30, scaleDownDelaySeconds: 300 },
  hardware: { server: 'local', accelerator: 'cpu', acceleratorCount: 0, memoryGib: 4, gpuSharing: 'exclusive' },
  engineArguments: { max_model_len: '256' },
};

function server(part: Partial<DeployServer>): DeployServer {
  return {
    name: '', engines: ['triton', 'vllm'], accelerator: 'cpu', accelerators: ['cpu'], cpuCount: null, memoryGib: null, gpus: [],
    fits: true, reason: null, preset: false, servers: 1, ...part,
  };
}

const options: Offered = {
  engines: [
    { name: 'vllm', label: 'vLLM', available: true, methods: ['skip', 'vllm'], reason: null, remedy: null },
    { name: 'triton', label: 'Triton', available: false, methods: ['ctranslate2'], reason: 'No Triton here.', remedy: 'Add one.' },
  ],
  servers: [
    server({ name: 'local', memoryGib: 16 }),
    server({ name: 'small', memoryGib: 1, fits: false, reason: 'It has 1 GiB.' }),
    server({
      name: 'gpu', accelerator: 'gpu', accelerators: ['gpu', 'cpu'], memoryGib: 64,
      gpus: [{ name: 'A', memoryGib: 24, freeGib: 24 }, { name: 'A', memoryGib: 24, freeGib: 24 }],
    }),
    server({ name: 'unsaid', preset: true, engines: ['vllm'] }),
    server({ name: 'docker', engines: ['container'], accelerators: ['cpu', 'gpu'] }),
  ],
  defaults: base,
  optimizations: [
    { method: 'skip', label: 'Skip', available: true, reason: null, quantizations: [] },
    { method: 'ctranslate2', label: 'CTranslate2', available: false, reason: 'Not on a CPU.', quantizations: [] },
    {
      method: 'vllm', label: 'vLLM', available: true, reason: null, quantizations: ['fp8'],
      methods: [
        { name: 'fp8', available: true, reason: null },
        { name: 'awq', available: false, reason: 'Needs quantized weights.' },
      ],
    },
  ],
};

const { hardware } = draftOf(base);

function problems(part: Partial<Draft>) {
  return draftProblems({ ...draftOf(base), ...part }, options);
}

function withNumbers(numbers: Partial<Draft['numbers']>) {
  return problems({ numbers: { ...draftOf(base).numbers, ...numbers } });
}

describe('a draft', () => {
  it('becomes the configuration it was made of', () => {
    expect(configurationOf(draftOf(base), base)).toEqual(base);
  });

  it('leaves out rows of engine arguments that were never filled in', () => {
    const draft = draftOf(base);
    draft.engineArguments.push({ id: 'new', name: ' ', value: '' });
    expect(configurationOf(draft, base).engineArguments).toEqual({ max_model_len: '256' });
    expect(draftProblems(draft, options)).toEqual({});
  });
});

describe('choosing', () => {
  const given = (draft: Draft) => configurationOf(draft, base).engineArguments;
  const chosen = (draft: Draft, choice: Partial<Draft>) => ({ ...draft, ...choosing(draft, choice, options) });

  it('takes the default arguments of an engine away with it, and brings them back', () => {
    const triton = chosen(draftOf(base), { engine: 'triton' });
    expect(given(triton)).toEqual({});
    expect(given(chosen(triton, { engine: 'vllm' }))).toEqual({ max_model_len: '256' });
    expect(given(chosen(draftOf(base), { hardware: { ...hardware, server: 'unsaid' } }))).toEqual({});
  });

  it('keeps what a person has typed', () => {
    const typed = { ...draftOf(base), engineArguments: [{ id: '1', name: 'max_model_len', value: '99' }] };
    const triton = chosen(typed, { engine: 'triton' });
    expect(given(triton)).toEqual({ max_model_len: '99' });
    expect(given(chosen(triton, { engine: 'vllm' }))).toEqual({ max_model_len: '99' });
  });
});

describe('draftProblems', () => {
  it('finds nothing wrong with a configuration that the server accepts', () => {
    expect(problems({})).toEqual({});
  });

  it.each<[Partial<Draft['numbers']>, string]>([
    [{ 'parameters.temperature': 2.1 }, 'parameters.temperature'],
    [{ 'parameters.maxTokens': '' }, 'parameters.maxTokens'],
    [{ 'parameters.maxTokens': 1.5 }, 'parameters.maxTokens'],
    [{ 'parameters.topK': 0 }, 'parameters.topK'],
    [{ 'parameters.topP': 0 }, 'parameters.topP'],
    [{ 'scaling.minReplicas': 3 }, 'scaling.minReplicas'],
    [{ 'hardware.memoryGib': 17 }, 'hardware.memoryGib'],
  ])('marks the field of %o', (numbers, path) => {
    expect(Object.keys(withNumbers(numbers))).toEqual([path]);
  });

  it('accepts the limits themselves', () => {
    expect(
      withNumbers({ 'parameters.temperature': 0, 'parameters.topP': 0.01, 'parameters.topK': 1, 'scaling.minReplicas': 2 }),
    ).toEqual({});
  });

  it('says why a server or an optimization cannot be chosen', () => {
    expect(problems({ hardware: { ...hardware, server: 'small' } })).toEqual({ 'hardware.server': 'It has 1 GiB.' });
    expect(problems({ optimization: { method: 'ctranslate2', quantization: 'int8' } })).toEqual({
      'optimization.method': 'Not on a CPU.',
    });
    expect(problems({ engine: 'triton' })).toEqual({ engine: 'No Triton here.' });
  });

  it('wants an engine that serves what the optimization leaves', () => {
    const engines = options.engines.map((engine) => ({ ...engine, available: true }));
    expect(draftProblems({ ...draftOf(base), engine: 'triton' }, { ...options, engines })).toEqual({
      engine: 'Triton does not serve the model with this optimization. Choose another engine.',
    });
  });

  it('wants a quantization that is offered', () => {
    expect(problems({ optimization: { method: 'vllm', quantization: 'fp8' } })).toEqual({});
    expect(problems({ optimization: { method: 'vllm', quantization: null } })).toEqual({
      'optimization.quantization': 'Choose a quantization.',
    });
    expect(problems({ optimization: { method: 'vllm', quantization: 'awq' } })).toEqual({
      'optimization.quantization': 'Needs quantized weights.',
    });
  });

  it.each([
    ['max_model_len', '12', null],
    ['max_model_len', 'many', 'Write a whole number.'],
    ['enforce_eager', 'yes', 'Write true or false.'],
    ['dtype', 'float13', "'float13' is not a choice. Choose from auto, float16."],
    ['sizes', '1 2 3', null],
    ['colour', '1', 'vllm 1.0 has no option of this name that a deployment may set.'],
  ])('asks the engine’s own list about %s=%s', (name, value, said) => {
    const list: EngineOptions = {
      engine: 'vllm', accelerator: 'cpu', known: true, version: '1.0',
      options: [
        { name: 'max_model_len', kind: 'int', choices: [], many: false, help: '' },
        { name: 'enforce_eager', kind: 'switch', choices: [], many: false, help: '' },
        { name: 'dtype', kind: 'text', choices: ['auto', 'float16'], many: false, help: '' },
        { name: 'sizes', kind: 'int', choices: [], many: true, help: '' },
      ],
    };
    const draft = { ...draftOf(base), engineArguments: [{ id: '1', name, value }] };
    const expected = said === null ? {} : { [`engineArguments.${name}`]: said };
    expect(draftProblems(draft, options, list)).toEqual(expected);
    expect(draftProblems(draft, options, { ...list, known: false, options: [] })).toEqual({});
  });

  it('counts the memory of all GPUs that a replica gets, and no more GPUs than there are', () => {
    const numbers = { ...draftOf(base).numbers, 'hardware.acceleratorCount': 2, 'hardware.memoryGib': 48 };
    const onGpus = { ...hardware, server: 'gpu', accelerator: 'gpu' } as const;
    expect(problems({ hardware: onGpus, numbers })).toEqual({});
    expect(problems({ hardware: onGpus, numbers: { ...numbers, 'hardware.acceleratorCount': 1 } })).toEqual({
      'hardware.memoryGib': 'gpu has 24 GiB for a replica. Use more GPUs, or ask for less.',
    });
    expect(Object.keys(problems({ hardware: onGpus, numbers: { ...numbers, 'hardware.acceleratorCount': 3 } }))).toEqual([
      'hardware.acceleratorCount',
    ]);
  });

  it('takes what is not known of a server as it is asked for', () => {
    const numbers = { ...draftOf(base).numbers, 'hardware.memoryGib': 500 };
    expect(problems({ hardware: { ...hardware, server: 'unsaid' }, numbers, engineArguments: [] })).toEqual({});
  });

  it('wants hardware that the server has', () => {
    expect(problems({ hardware: { ...hardware, accelerator: 'gpu' } })).toEqual({
      'hardware.accelerator': 'local has no GPU. Choose what it has.',
    });
    expect(problems({ hardware: { ...hardware, server: 'gpu' } })).toEqual({});
  });

  it('wants a server that runs the engine, with what it was started with', () => {
    expect(problems({ hardware: { ...hardware, server: 'docker' } })).toEqual({
      'hardware.server': 'It runs container, and not vLLM.',
    });
    expect(problems({ hardware: { ...hardware, server: 'unsaid' } })).toEqual({
      'engineArguments.max_model_len': 'unsaid runs already, with the arguments that it was started with. Remove this one.',
    });
    expect(
      problems({
        hardware: { ...hardware, server: 'unsaid' },
        optimization: { method: 'vllm', quantization: 'fp8' },
        engineArguments: [],
      }),
    ).toEqual({ 'hardware.server': 'unsaid serves what it was started with. Choose another server, or no optimization.' });
  });

  it('refuses argument names that are misspelt, doubled or set elsewhere', () => {
    const found = problems({
      engineArguments: [
        { id: '1', name: '--max-model-len', value: '1' },
        { id: '2', name: 'seed', value: '1' },
        { id: '3', name: 'seed', value: '2' },
        { id: '4', name: 'port', value: '80' },
      ],
    });
    expect(Object.keys(found).sort()).toEqual([
      'engineArguments.--max-model-len',
      'engineArguments.port',
      'engineArguments.seed',
    ]);
  });
});

describe('stepOf', () => {
  it.each([
    ['optimization.method', 'optimization'],
    ['scaling.minReplicas', 'parameters'],
    ['engineArguments.seed', 'parameters'],
    ['hardware.server', 'hardware'],
    ['engine', 'optimization'],
    ['terms', 'review'],
    ['reason', 'review'],
  ])('finds %s on the step %s', (path, step) => {
    expect(stepOf(path)).toBe(step);
  });
});
