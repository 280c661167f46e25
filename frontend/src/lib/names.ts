export const MAX_NAME_LENGTH = 64;
const ALLOWED = /^[A-Za-z0-9_\-\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]$/;
const VERSION = /^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})$/;

export interface NameFault {
  detail: string;
  /** The nearest name that is allowed; null where there is none. */
  suggestion: string | null;
}

/** What is wrong with a model's name; null for a good one. */
export function nameFault(name: string): NameFault | null {
  const characters = Array.from(name);
  if (characters.length === 0) return { detail: 'The model needs a name.', suggestion: null };
  if (characters.length > MAX_NAME_LENGTH) {
    return {
      detail: `The name has ${characters.length} characters; a model’s name has at most ${MAX_NAME_LENGTH}.`,
      suggestion: null,
    };
  }
  const wrong = [...new Set(characters.filter((character) => !ALLOWED.test(character)))];
  if (wrong.length === 0) return null;
  const shown = wrong.map((character) => (character === ' ' ? 'a space' : `“${character}”`)).join(', ');
  return {
    detail: `The name contains ${shown}; letters, Chinese characters, digits, hyphens and underscores are allowed.`,
    suggestion: characters.map((character) => (ALLOWED.test(character) ? character : '-')).join(''),
  };
}

/** A name for what lies at a path or address: its last part, as far as names allow. */
export function suggestedName(place: string): string {
  const last = place.split(/[/\\]/).filter(Boolean).at(-1) ?? '';
  return Array.from(last.replaceAll('.', '_'))
    .map((character) => (ALLOWED.test(character) ? character : '-'))
    .slice(0, MAX_NAME_LENGTH)
    .join('');
}

/** What is wrong with a version's number; null for a good one, and for none. */
export function versionFault(version: string): string | null {
  return version === '' || VERSION.test(version) ? null : 'Write three numbers, such as 1.0.0.';
}
