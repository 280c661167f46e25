import type { ModelDetail } from '@/lib/api/types';

export const MAX_LABELS = 5;
export const MAX_LABEL_LENGTH = 64;
export const MAX_LINKS = 3;
export const MAX_DESCRIPTION_LENGTH = 2000;

/** What an administrator may edit of a model. */
export interface Details {
  description: string;
  labels: string[];
  documentationLinks: string[];
}

export function detailsOf(model: Pick<ModelDetail, keyof Details>): Details {
  return {
    description: model.description,
    labels: model.labels,
    documentationLinks: model.documentationLinks,
  };
}

/** Without blanks around the values and without empty links: what is sent. */
export function cleanDetails(details: Details): Details {
  return {
    description: details.description.trim(),
    labels: details.labels.map((label) => label.trim()).filter((label) => label !== ''),
    documentationLinks: details.documentationLinks.map((link) => link.trim()).filter((link) => link !== ''),
  };
}

export function sameDetails(one: Details, other: Details): boolean {
  return JSON.stringify(cleanDetails(one)) === JSON.stringify(cleanDetails(other));
}

/** Messages by field: `description`, `labels`, `documentationLinks.0`. Empty when everything is acceptable. */
export function detailsErrors(details: Details): Record<string, string> {
  const errors: Record<string, string> = {};
  if (details.description.trim().length > MAX_DESCRIPTION_LENGTH) {
    errors['description'] = `Shorten the description to ${MAX_DESCRIPTION_LENGTH} characters.`;
  }
  const { labels } = cleanDetails(details);
  if (labels.length > MAX_LABELS) errors['labels'] = `A model has at most ${MAX_LABELS} labels.`;
  const long = labels.find((label) => label.length > MAX_LABEL_LENGTH);
  if (long !== undefined) errors['labels'] = `Shorten "${long.slice(0, 24)}…" to ${MAX_LABEL_LENGTH} characters.`;
  details.documentationLinks.forEach((link, index) => {
    if (link.trim() !== '' && !isWebAddress(link.trim())) {
      errors[`documentationLinks.${index}`] = 'Give a complete address that begins with https:// or http://.';
    }
  });
  return errors;
}

function isWebAddress(text: string): boolean {
  return /^https?:\/\//i.test(text) && URL.canParse(text);
}
