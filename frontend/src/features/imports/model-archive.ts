/** Endings of the archives that Loggia imports. */
export const ACCEPTED_SUFFIXES = ['.zip'] as const;
const OTHER_ARCHIVES = /\.(tar|tar\.gz|tgz|tar\.zst|tar\.xz|tar\.bz2|7z|rar|gz|zst)$/i;
const SINGLE_WEIGHTS = /\.(safetensors|bin|pt|pth|gguf|ckpt)$/i;

export const MAX_NAME_LENGTH = 64;
const ALLOWED = /^[A-Za-z0-9_\-\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]$/;

export type ArchiveCheck =
  | { usable: true; modelName: string }
  | { usable: false; detail: string; remedy: string };

/** Whether a file can be imported, judged by its name, and the model name that it gives. */
export function checkArchive(file: { name: string; size: number }): ArchiveCheck {
  const suffix = ACCEPTED_SUFFIXES.find((ending) => file.name.toLowerCase().endsWith(ending));
  if (suffix === undefined) return refuseEnding(file.name);
  if (file.size === 0) {
    return { usable: false, detail: `“${file.name}” is empty.`, remedy: 'Pack the model’s folder again and choose the new file.' };
  }
  // A dot is common in version numbers (Qwen1.5) but no part of a model name.
  const modelName = file.name.slice(0, -suffix.length).normalize('NFC').replaceAll('.', '_');
  return checkName(modelName);
}

function checkName(modelName: string): ArchiveCheck {
  const characters = Array.from(modelName);
  if (characters.length === 0) {
    return {
      usable: false,
      detail: 'The file has no name before its ending, so the model would have none.',
      remedy: 'Rename the file, for instance to my-model.zip.',
    };
  }
  if (characters.length > MAX_NAME_LENGTH) {
    return {
      usable: false,
      detail: `The name has ${characters.length} characters; a model’s name has at most ${MAX_NAME_LENGTH}.`,
      remedy: 'Rename the file: the model takes its name from it.',
    };
  }
  const wrong = [...new Set(characters.filter((character) => !ALLOWED.test(character)))];
  if (wrong.length > 0) {
    const shown = wrong.map((character) => (character === ' ' ? 'a space' : `“${character}”`)).join(', ');
    const suggestion = characters.map((character) => (ALLOWED.test(character) ? character : '-')).join('');
    return {
      usable: false,
      detail: `The name contains ${shown}; letters, Chinese characters, digits, hyphens and underscores are allowed.`,
      remedy: `Rename the file, for instance to ${suggestion}.zip.`,
    };
  }
  return { usable: true, modelName };
}

function refuseEnding(name: string): ArchiveCheck {
  const accepted = ACCEPTED_SUFFIXES.join(', ');
  if (OTHER_ARCHIVES.test(name)) {
    return {
      usable: false,
      detail: `“${name}” is an archive of another kind; accepted: ${accepted}.`,
      remedy: 'Unpack it and pack the folder as a .zip file.',
    };
  }
  if (SINGLE_WEIGHTS.test(name)) {
    return {
      usable: false,
      detail: `“${name}” is one file of a model; accepted: ${accepted} with the whole folder.`,
      remedy: 'Pack it together with config.json and the tokenizer. See the instructions.',
    };
  }
  return {
    usable: false,
    detail: `“${name}” is not a model archive; accepted: ${accepted}.`,
    remedy: 'Choose the .zip file of a model’s folder. See the instructions.',
  };
}
