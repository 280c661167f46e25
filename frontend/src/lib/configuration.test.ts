import { describe, expect, it } from 'vitest';
import type { DeployConfiguration } from './api/types';
import { configurationDifferences, problemPath, readDeployConfigFile } from './configuration';

const configuration: DeployConfiguration = {
  schemaVersion: 1,
  engine: 'vllm',
  optimization: { method: 'skip', quantization: null },
  parameters: { temperature: 0.7, maxTokens: 256, topP: 0.95, topK: -1, stop: [], batchSize: 8 },
  scaling: { minReplicas: 1, maxReplicas: 1, scaleUpDelaySeconds: 30, scaleDownDelaySeconds: 300 },
  hardware: { server: 'local', accelerator: 'cpu', acceleratorCount: 0, memoryGib: 4, gpuSharing: 'exclusive' },
  engineArguments: { max_model_len: '256' },
};

describe('configurationDifferences', () => {
  it('finds nothing between equal configurations', () => {
    expect(configurationDifferences(configuration, structuredClone(configuration))).toEqual([]);
  });

  it('names each changed field with both values, as a person reads them', () => {
    const after = structuredClone(configuration);
    after.parameters.maxTokens = 1024;
    after.parameters.stop = ['\n\n'];
    expect(configurationDifferences(configuration, after)).toEqual([
      { path: 'parameters.maxTokens', label: 'Maximum length', before: '256 tokens', after: '1,024 tokens' },
      { path: 'parameters.stop', label: 'Stop sequences', before: 'None', after: String.raw`"\n\n"` },
    ]);
  });

  it('shows an engine argument that only one of the two has', () => {
    const after = { ...configuration, engineArguments: { enforce_eager: 'true' } };
    expect(configurationDifferences(configuration, after)).toEqual([
      { path: 'engineArguments.enforce_eager', label: 'enforce_eager', before: null, after: 'true' },
      { path: 'engineArguments.max_model_len', label: 'max_model_len', before: '256', after: null },
    ]);
  });
});

describe('problemPath', () => {
  it.each([
    ['configuration.parameters.max_tokens', 'parameters.maxTokens'],
    ['parameters.maxTokens', 'parameters.maxTokens'],
    ['scaling.scale_up_delay_seconds', 'scaling.scaleUpDelaySeconds'],
    ['engine_arguments.max_model_len', 'engineArguments.max_model_len'],
    ['configuration.engineArguments.max_model_len', 'engineArguments.max_model_len'],
    ['terms.version', 'terms.version'],
  ])('turns %s into %s', (field, path) => {
    expect(problemPath(field)).toBe(path);
  });
});

describe('deployconfig.json', () => {
  const read = (document: unknown) => readDeployConfigFile(JSON.stringify(document), configuration);

  it('comes back as it was written, names of engine arguments untouched', () => {
    const others = { ...configuration, engine: 'triton', engineArguments: {}, parameters: { ...configuration.parameters, maxTokens: 1 } };
    expect(readDeployConfigFile(JSON.stringify(configuration), others)).toEqual({ configuration, unknown: [] });
  });

  it('is read with the field names of events, too', () => {
    const { configuration: found } = read({ parameters: { max_tokens: 64 }, engine_arguments: { enforce_eager: 'true' } });
    expect(found.parameters.maxTokens).toBe(64);
    expect(found.engineArguments).toEqual({ enforce_eager: 'true' });
  });

  it('takes what is missing or of another kind from the defaults, and names what has no effect', () => {
    const { configuration: found, unknown } = read({
      colour: 1, hardware: { gpus: 2 }, parameters: { temperature: 'hot', max_tokens: 64 },
    });
    expect(found.parameters).toEqual({ ...configuration.parameters, maxTokens: 64 });
    expect(found.hardware).toEqual(configuration.hardware);
    expect(unknown.toSorted()).toEqual(['colour', 'hardware.gpus', 'parameters.temperature']);
  });

  it('knows a quantization, and that there may be none', () => {
    const { configuration: found } = read({ engine: 'triton', optimization: { method: 'ctranslate2', quantization: 'int8' } });
    expect(found.optimization).toEqual({ method: 'ctranslate2', quantization: 'int8' });
    expect(found.engine).toBe('triton');
    expect(read({ optimization: { quantization: null } }).unknown).toEqual([]);
  });

  it('refuses another version of the format and what is not a configuration', () => {
    expect(() => readDeployConfigFile('{"schema_version": 2}', configuration)).toThrow(/version 1/);
    expect(() => readDeployConfigFile('PK\u0003\u0004', configuration)).toThrow(/not JSON/);
    expect(() => readDeployConfigFile('[]', configuration)).toThrow(/one configuration/);
  });
});
