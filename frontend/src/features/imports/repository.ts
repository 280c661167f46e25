/** What `POST /api/imports/inspect` says of a repository. */
export interface Repository {
  repository: string;
  commit: string;
  license: string | null;
  task: string | null;
  gated: boolean;
  isPrivate: boolean;
  baseModel: string | null;
  totalBytes: number | null;
  weightChoices: WeightChoice[];
}

export interface WeightChoice {
  /** What `files` of an import names. */
  id: string;
  format: string;
  label: string;
  bytes: number;
  recommended: boolean;
  /** Why this is not the first choice; empty where nothing speaks against it. */
  hazard: string;
}

type Facts = Record<string, unknown>;

export function repositoryOf(facts: Facts): Repository {
  const choices = Array.isArray(facts['weightChoices']) ? (facts['weightChoices'] as Facts[]) : [];
  return {
    repository: text(facts['repository']) ?? '',
    commit: text(facts['commit']) ?? '',
    license: text(facts['license']),
    task: text(facts['task']),
    gated: facts['gated'] === true,
    isPrivate: facts['private'] === true,
    baseModel: text(facts['baseModel']),
    totalBytes: typeof facts['totalBytes'] === 'number' ? facts['totalBytes'] : null,
    weightChoices: choices.map((choice) => ({
      id: text(choice['id']) ?? '',
      format: text(choice['format']) ?? '',
      label: text(choice['label']) ?? '',
      bytes: typeof choice['bytes'] === 'number' ? choice['bytes'] : 0,
      recommended: choice['recommended'] === true,
      hazard: text(choice['hazard']) ?? '',
    })),
  };
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}
