import { describe, expect, it } from 'vitest';
import { checkModelFile } from './model-file';

function check(name: string, size = 10) {
  return checkModelFile({ name, size });
}

describe('checkModelFile', () => {
  it.each([
    ['my-model.zip', 'my-model'],
    ['my-model.tar', 'my-model'],
    ['my-model.tar.gz', 'my-model'],
    ['my-model.TGZ', 'my-model'],
    ['my-model.tar.zst', 'my-model'],
    ['Qwen2.5-0.5B-Q4.gguf', 'Qwen2_5-0_5B-Q4'],
    ['encoder.onnx', 'encoder'],
    ['weights.safetensors', 'weights'],
    ['Qwen2.5_7B.ZIP', 'Qwen2_5_7B'],
    ['通义千问-7B.zip', '通义千问-7B'],
    [`${'a'.repeat(64)}.zip`, 'a'.repeat(64)],
  ])('accepts %s as the model %s', (file, modelName) => {
    expect(check(file)).toEqual({ usable: true, modelName });
  });

  it.each([
    ['weights.tar.xz', /another kind/, /pack the folder as a \.zip/],
    ['model.rar', /another kind/, /\.zip/],
    ['pytorch_model.bin', /pickled/, /safetensors/],
    ['notes.txt', /not a model file/, /archive/],
    ['.zip', /no name/, /Rename/],
    [`${'a'.repeat(65)}.zip`, /65 characters/, /Rename/],
    ['my model.zip', /a space/, /my-model\.zip/],
    ['modèle.zip', /“è”/, /mod-le\.zip/],
  ])('refuses %s and says how to mend it', (file, detail, remedy) => {
    const result = check(file);
    expect(result).toMatchObject({
      usable: false,
      detail: expect.stringMatching(detail) as string,
      remedy: expect.stringMatching(remedy) as string,
    });
  });

  it('refuses an empty file', () => {
    expect(check('model.zip', 0)).toMatchObject({ usable: false });
  });
});
