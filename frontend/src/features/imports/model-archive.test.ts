import { describe, expect, it } from 'vitest';
import { checkArchive } from './model-archive';

function check(name: string, size = 10) {
  return checkArchive({ name, size });
}

describe('checkArchive', () => {
  it.each([
    ['my-model.zip', 'my-model'],
    ['Qwen2.5_7B.ZIP', 'Qwen2_5_7B'],
    ['通义千问-7B.zip', '通义千问-7B'],
    [`${'a'.repeat(64)}.zip`, 'a'.repeat(64)],
  ])('accepts %s as the model %s', (file, modelName) => {
    expect(check(file)).toEqual({ usable: true, modelName });
  });

  it.each([
    ['weights.tar.gz', /another kind/, /pack the folder as a \.zip/],
    ['model.safetensors', /one file of a model/, /config\.json/],
    ['notes.txt', /not a model archive/, /\.zip/],
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
