import { Autocomplete, Select, Textarea, TextInput } from '@mantine/core';
import { useState } from 'react';
import type { ImportBody } from '@/lib/api/types';
import { MAX_DESCRIPTION_LENGTH } from '@/lib/details';
import { MODEL_TYPES } from '@/lib/origin-words';
import classes from './form.module.css';
import { ImportFooter, type SourceFormProps } from './import-footer';
import { IdentityFields, identityBody, identityRefusal } from './identity-fields';
import { NO_RESOURCES, ResourceFields, resourcesBody } from './resource-fields';

const RUNTIMES = ['PyTorch', 'TensorFlow', 'ONNX Runtime', 'vLLM', 'CTranslate2', 'llama.cpp', 'Ollama', 'Triton'];

/** A model that is described rather than read from files; its weights may come with it or later. */
export default function CreateForm(props: SourceFormProps) {
  const { target } = props;
  const [identity, setIdentity] = useState({ name: '', version: '' });
  const [type, setType] = useState('llm');
  const [runtime, setRuntime] = useState('');
  const [resources, setResources] = useState(NO_RESOURCES);
  const [weights, setWeights] = useState('');
  const [description, setDescription] = useState('');
  const body: ImportBody = {
    source: 'manual',
    ...identityBody(identity, target),
    type,
    runtime: runtime.trim(),
    resources: resourcesBody(resources),
    ...(weights.trim() !== '' && { weights: weights.trim() }),
    ...(target === null && { description: description.trim() }),
  };
  const refusal =
    identityRefusal(identity, target) ?? (runtime.trim() === '' ? 'Say which runtime environment it needs.' : null);

  return (
    <div className={classes.stack}>
      <IdentityFields value={identity} onChange={setIdentity} target={target} />
      <div className={classes.pair}>
        <Select
          label="Type"
          allowDeselect={false}
          data={Object.entries(MODEL_TYPES).map(([value, label]) => ({ value, label }))}
          value={type}
          onChange={(value) => setType(value ?? 'other')}
        />
        <Autocomplete label="Runtime environment" placeholder="PyTorch" data={RUNTIMES} value={runtime} onChange={setRuntime} />
      </div>
      <ResourceFields legend="Required resources" value={resources} onChange={setResources} />
      <TextInput
        label="Weights"
        description="A web address or a path on the server. Without weights the model is listed but cannot be deployed."
        placeholder="https:// or /models/…"
        value={weights}
        onChange={(event) => setWeights(event.currentTarget.value)}
      />
      {target === null && (
        <Textarea
          label="Description"
          autosize
          minRows={2}
          maxRows={8}
          maxLength={MAX_DESCRIPTION_LENGTH}
          value={description}
          onChange={(event) => setDescription(event.currentTarget.value)}
        />
      )}
      <ImportFooter {...props} body={body} disabledReason={refusal} label={target === null ? 'Create' : 'Add the version'} />
    </div>
  );
}
