import type { ModelDetail } from '@/lib/api/types';
import { formatNumber } from '@/lib/format';
import { DEPLOYMENT_TYPES, MODEL_TYPES } from '@/lib/origin-words';

export interface OriginFact {
  label: string;
  value: string;
  mono?: boolean;
}

type Values = Record<string, unknown>;

/** Where a version comes from, as a person reads it. */
export function originFacts(model: Pick<ModelDetail, 'source' | 'origin' | 'resolved' | 'fileName' | 'card'>): OriginFact[] {
  const origin = values(Object.values(model.origin)[0]);
  const resolved = model.resolved ?? {};
  const connection = fact('Connection', origin['connection']);
  switch (model.source) {
    case 'upload':
      return fact('File', model.fileName);
    case 'huggingface':
      return [
        ...fact('Repository', origin['repository']),
        ...fact('Revision', origin['revision']),
        ...fact('Commit', resolved['revision'], true),
        ...fact('Weights', Array.isArray(origin['files']) ? origin['files'].join(', ') : null),
        ...connection,
      ];
    case 'url':
      return [...fact('Address', origin['address']), ...fact('Digest', resolved['digest'] ?? resolved['revision'], true), ...connection];
    case 'path':
      return [
        ...fact('Path', origin['path'], true),
        ...fact('Files', origin['mode'] === 'reference' ? 'Left in their place' : 'Copied into the storage'),
      ];
    case 'container_image':
      return [
        ...fact('Image', origin['reference'], true),
        ...fact('Digest', model.card?.image?.digest ?? resolved['revision'], true),
        ...fact('Platform', model.card?.image?.platform),
        ...fact('Ports', model.card?.image?.ports?.join(', ')),
        ...fact('Deployment type', DEPLOYMENT_TYPES[String(origin['deploymentType'])]),
        ...fact('Minimum', resources(origin['minimum'])),
        ...connection,
      ];
    case 'manual':
      return [
        ...fact('Type', MODEL_TYPES[String(origin['type'])]),
        ...fact('Runtime', origin['runtime']),
        ...fact('Resources', resources(origin['resources'])),
        ...fact('Weights', origin['weights'] ?? 'None: listed, but not deployable'),
      ];
  }
}

/** The documents of a container image; null where there are none. */
export function originParts({ containerImage }: ModelDetail['origin']): Record<'configuration' | 'inputSchema' | 'outputSchema', string | null> {
  const image = values(containerImage);
  return {
    configuration: text(image['configuration']),
    inputSchema: text(image['inputSchema']),
    outputSchema: text(image['outputSchema']),
  };
}

function resources(given: unknown): string | null {
  const found = values(given);
  const parts = [
    ['cpu', 'CPU cores'],
    ['memoryGib', 'GiB memory'],
    ['gpu', 'GPUs'],
    ['gpuMemoryGib', 'GiB GPU memory'],
  ] as const;
  const words = parts.flatMap(([name, unit]) => {
    const amount = found[name];
    return typeof amount === 'number' && amount > 0 ? [`${formatNumber(amount)} ${unit}`] : [];
  });
  return words.length === 0 ? null : words.join(', ');
}

function fact(label: string, value: unknown, mono = false): OriginFact[] {
  const shown = text(value);
  return shown === null ? [] : [{ label, value: shown, mono }];
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

function values(value: unknown): Values {
  return typeof value === 'object' && value !== null ? (value as Values) : {};
}
