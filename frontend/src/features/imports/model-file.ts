import { nameFault } from '@/lib/names';

/** Endings of the files that Loggia imports. */
export const ACCEPTED_SUFFIXES = [
  '.zip', '.tar', '.tar.gz', '.tgz', '.tar.zst', '.safetensors', '.gguf', '.onnx',
] as const;
const OTHER_ARCHIVES = /\.(tar\.xz|tar\.bz2|7z|rar|gz|zst|xz|bz2)$/i;
const PICKLED_WEIGHTS = /\.(bin|pt|pth|ckpt)$/i;

export type FileCheck =
  | { usable: true; modelName: string }
  | { usable: false; detail: string; remedy: string };

/** Whether a file can be imported, judged by its name, and the model name that it gives. */
export function checkModelFile(file: { name: string; size: number }): FileCheck {
  const suffix = ACCEPTED_SUFFIXES.find((ending) => file.name.toLowerCase().endsWith(ending));
  if (suffix === undefined) return refuseEnding(file.name);
  if (file.size === 0) {
    return { usable: false, detail: `“${file.name}” is empty.`, remedy: 'Pack the model’s folder again and choose the new file.' };
  }
  // A dot is common in version numbers (Qwen1.5) but no part of a model name.
  const modelName = file.name.slice(0, -suffix.length).normalize('NFC').replaceAll('.', '_');
  if (modelName === '') {
    return {
      usable: false,
      detail: 'The file has no name before its ending, so the model would have none.',
      remedy: `Rename the file, for instance to my-model${suffix}.`,
    };
  }
  const fault = nameFault(modelName);
  if (fault === null) return { usable: true, modelName };
  return {
    usable: false,
    detail: fault.detail,
    remedy:
      fault.suggestion === null
        ? 'Rename the file: the model takes its name from it.'
        : `Rename the file, for instance to ${fault.suggestion}${suffix}.`,
  };
}

function refuseEnding(name: string): FileCheck {
  const accepted = ACCEPTED_SUFFIXES.join(', ');
  if (OTHER_ARCHIVES.test(name)) {
    return {
      usable: false,
      detail: `“${name}” is an archive of another kind; accepted: ${accepted}.`,
      remedy: 'Unpack it and pack the folder as a .zip or .tar.gz file.',
    };
  }
  if (PICKLED_WEIGHTS.test(name)) {
    return {
      usable: false,
      detail: `“${name}” holds pickled weights, which can run code when opened; accepted: ${accepted}.`,
      remedy: 'Convert the weights to safetensors, then pack them with config.json and the tokenizer.',
    };
  }
  return {
    usable: false,
    detail: `“${name}” is not a model file; accepted: ${accepted}.`,
    remedy: 'Choose the archive of a model’s folder. See the instructions.',
  };
}
