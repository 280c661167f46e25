import {
  IconBrandDocker,
  IconForms,
  IconListCheck,
  IconServer,
  IconUpload,
  IconWorldDownload,
  type Icon,
} from '@tabler/icons-react';

/** What the address bar says of the open dialog; `base` and `adapter` are the two kinds of upload. */
export type ImportPlace = 'base' | 'adapter' | 'huggingface' | 'list' | 'path' | 'image' | 'create';
export type SourceId = Exclude<ImportPlace, 'base' | 'adapter'> | 'upload';

export interface SourceChoice {
  id: SourceId;
  title: string;
  words: string;
  icon: Icon;
}

export const SOURCES: SourceChoice[] = [
  { id: 'upload', title: 'Upload', words: 'A file on this computer', icon: IconUpload },
  { id: 'huggingface', title: 'Hugging Face', words: 'A repository of a hub', icon: IconWorldDownload },
  { id: 'list', title: 'List of models', words: 'Many at once, from an address', icon: IconListCheck },
  { id: 'path', title: 'Server path', words: 'A folder on the server', icon: IconServer },
  { id: 'image', title: 'Container image', words: 'An image that serves a model', icon: IconBrandDocker },
  { id: 'create', title: 'Create', words: 'Described in a form', icon: IconForms },
];

/** A model that exists gets one version at a time: from one address instead of a list. */
export const VERSION_SOURCES: SourceChoice[] = SOURCES.map((source) =>
  source.id === 'list' ? { ...source, title: 'Web address', words: 'One archive or file' } : source,
);

export function sourceOf(place: ImportPlace): SourceId {
  return place === 'base' || place === 'adapter' ? 'upload' : place;
}

export function placeOf(source: SourceId): ImportPlace {
  return source === 'upload' ? 'base' : source;
}
