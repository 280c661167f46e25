import { Badge } from '@mantine/core';
import { Bytes } from '@/components/bytes';
import { Facts, type Fact } from '@/components/facts';
import { Panel } from '@/components/panel';
import type { ModelCard, ModelDetail } from '@/lib/api/types';
import { formatNumber } from '@/lib/format';
import { AdapterFacts } from './adapter-facts';
import { MemoryTable } from './memory-table';
import classes from './model-card-panel.module.css';

/** What the files say about the model. */
export function ModelCardPanel({ model }: { model: ModelDetail }) {
  const { card } = model;
  const hasFiles = card === null || !FORMATS_WITHOUT_FILES.has(card.format ?? '');
  return (
    <Panel
      title="Model card"
      description={hasFiles ? 'Read from the files of this version.' : 'There are no files to read: this is what was told of it.'}
    >
      {model.description !== '' && <p className={classes.description}>{model.description}</p>}
      {model.labels.length > 0 && (
        <div className={classes.labels}>
          {model.labels.map((label) => (
            <Badge key={label}>{label}</Badge>
          ))}
        </div>
      )}
      {card ? (
        <Facts columns={3} facts={hasFiles ? cardFacts(card) : toldFacts(card)} />
      ) : (
        <p className={classes.missing}>
          {model.state === 'import_failed'
            ? 'The files could not be read. The validation report says why.'
            : 'Filled in as soon as the model has been validated.'}
        </p>
      )}
      {card?.adapter && <AdapterFacts adapter={card.adapter} baseModelId={model.baseModelId} />}
      {card !== null && card.memory.length > 0 && <MemoryTable memory={card.memory} contextLength={card.contextLength} />}
      {model.documentationLinks.length > 0 && (
        <div className={classes.links}>
          <h3 className={classes.heading}>Documentation</h3>
          <ul>
            {model.documentationLinks.map((link) => (
              <li key={link}>
                <a href={link} target="_blank" rel="noreferrer noopener">
                  {link}
                </a>
              </li>
            ))}
          </ul>
        </div>
      )}
      {card?.summary && (
        <details className={classes.readme}>
          <summary>README of the model</summary>
          <div className={classes.summary}>{card.summary}</div>
        </details>
      )}
    </Panel>
  );
}

const FORMATS: Record<string, string> = {
  transformers: 'Transformers',
  diffusers: 'Diffusers',
  'sentence-transformers': 'Sentence Transformers',
  peft: 'PEFT adapter',
  gguf: 'GGUF',
  onnx: 'ONNX',
  ctranslate2: 'CTranslate2',
  triton: 'Triton',
  ollama: 'Ollama',
  container_image: 'Container image',
  external: 'Described',
};

const FORMATS_WITHOUT_FILES = new Set(['external', 'container_image']);

/** Of a model without files, only what is known. */
function toldFacts(card: ModelCard): Fact[] {
  return [
    { label: 'Format', value: FORMATS[card.format ?? ''] ?? '—' },
    ...(card.task === null ? [] : [{ label: 'Task', value: card.task }]),
    ...(card.license === null ? [] : [{ label: 'Licence', value: card.license }]),
    ...(card.totalBytes ? [{ label: 'Size', value: <Bytes value={card.totalBytes} /> }] : []),
  ];
}

function cardFacts(card: ModelCard): Fact[] {
  return [
    { label: 'Format', value: card.format === null ? '—' : (FORMATS[card.format] ?? card.format) },
    { label: 'Architecture', value: card.architecture ?? '—' },
    { label: 'Task', value: card.task ?? '—' },
    { label: 'Parameters', value: count(card.parameterCount) },
    { label: 'Data type', value: card.dtype ?? '—' },
    { label: 'Context length', value: card.contextLength === null ? '—' : `${formatNumber(card.contextLength)} tokens` },
    { label: 'Vocabulary', value: card.vocabularySize === null ? '—' : `${formatNumber(card.vocabularySize)} tokens` },
    { label: 'Layers', value: count(card.layers) },
    { label: 'Hidden size', value: count(card.hiddenSize) },
    { label: 'Tokenizer', value: card.tokenizer ?? '—' },
    { label: 'Chat template', value: card.chatTemplate ? 'Yes' : 'No' },
    { label: 'Licence', value: card.license ?? 'Not stated' },
    { label: 'Languages', value: card.languages.length === 0 ? 'Not stated' : card.languages.join(', ') },
    { label: 'Weights', value: card.weightFormat ?? '—' },
    { label: 'Size', value: <Bytes value={card.totalBytes} /> },
    ...(card.quantization === null ? [] : [{ label: 'Quantization', value: card.quantization }]),
    ...(card.customCode.length === 0 ? [] : [{ label: 'Custom code', value: card.customCode.join(', ') }]),
  ];
}

function count(value: number | null): string {
  return value === null ? '—' : formatNumber(value);
}
