import { Alert, Button, Radio, Textarea, TextInput } from '@mantine/core';
import { useState } from 'react';
import { Bytes } from '@/components/bytes';
import { Facts } from '@/components/facts';
import { ProblemAlert } from '@/components/problem-alert';
import type { ImportBody, Inspection } from '@/lib/api/types';
import { formatNumber } from '@/lib/format';
import { nameFault, suggestedName } from '@/lib/names';
import classes from './form.module.css';
import { useLook } from './import-command';
import { ImportFooter, type SourceFormProps } from './import-footer';
import { IdentityFields, identityBody, identityRefusal } from './identity-fields';
import { firstKind, kindBody, KindFields, kindRefusal } from './kind-fields';

/** A folder or file below one of the server's import roots, looked at as soon as it is named. */
export default function PathForm(props: SourceFormProps) {
  const { target } = props;
  const [path, setPath] = useState('');
  const [mode, setMode] = useState<'reference' | 'copy'>('reference');
  const [technicalName, setTechnicalName] = useState('');
  const [identity, setIdentity] = useState({ name: '', version: '' });
  const [kind, setKind] = useState(() => firstKind(target));
  const [template, setTemplate] = useState('');
  const look = useLook();
  const looked = look.variables?.['path'] === path.trim();
  const found = looked ? look.data : undefined;

  const inspect = () => {
    const wanted = path.trim();
    if (wanted === '' || (looked && !look.isError)) return;
    look.mutate({ source: 'path', path: wanted }, {
      onSuccess: () => {
        const name = suggestedName(wanted);
        setIdentity((before) => (before.name === '' ? { ...before, name } : before));
        setTechnicalName((before) => (before === '' ? name.toLowerCase() : before));
      },
    });
  };
  const technicalFault = target === null && technicalName !== '' ? (nameFault(technicalName)?.detail ?? null) : null;
  const body: ImportBody = {
    source: 'path',
    path: path.trim(),
    mode,
    ...identityBody(identity, target),
    ...kindBody(kind),
    ...(target === null && { technicalName }),
    ...(template.trim() !== '' && { template }),
  };
  const refusal =
    found === undefined
      ? 'Name a path that Loggia can read.'
      : found.problems.length > 0
        ? 'Solve the problems at this path first.'
        : target === null && technicalName === ''
          ? 'Give a technical name.'
          : (technicalFault ?? kindRefusal(kind) ?? identityRefusal(identity, target));

  return (
    <div className={classes.stack}>
      <form
        className={classes.look}
        onSubmit={(event) => {
          event.preventDefault();
          inspect();
        }}
      >
        <TextInput
          label="Path on the server"
          description="Below one of the folders that the server’s administrator allows."
          placeholder="/models/my-model"
          classNames={{ input: classes.mono }}
          value={path}
          onChange={(event) => setPath(event.currentTarget.value)}
          onBlur={inspect}
        />
        <Button type="submit" variant="default" loading={look.isPending}>
          Look
        </Button>
      </form>
      {looked && <ProblemAlert problem={look.error} />}
      {found !== undefined && <PathFacts found={found} />}
      <Radio.Group label="Files" value={mode} onChange={(value) => setMode(value === 'copy' ? 'copy' : 'reference')}>
        <div className={classes.choices}>
          <Radio
            value="reference"
            className={classes.choice}
            label="Leave them in their place"
            description="No second copy. Loggia compares them with their digests at every deployment."
          />
          <Radio
            value="copy"
            className={classes.choice}
            label="Copy them into Loggia’s storage"
            description="The model stays, whatever happens to the folder."
          />
        </div>
      </Radio.Group>
      <KindFields value={kind} target={target} onChange={setKind} />
      {target === null && (
          <TextInput
            label="Technical name"
            description="Short and unique: trained models and programs call it by this name."
            value={technicalName}
            error={technicalFault}
            onChange={(event) => setTechnicalName(event.currentTarget.value)}
          />
      )}
      <IdentityFields value={identity} onChange={setIdentity} target={target} />
      <Textarea
        label="Deployment template for Ollama"
        description="Optional, written as a Modelfile. It can be changed later."
        placeholder={'TEMPLATE """{{ .Prompt }}"""\nPARAMETER temperature 0.7'}
        autosize
        minRows={3}
        maxRows={14}
        spellCheck={false}
        classNames={{ input: classes.mono }}
        value={template}
        onChange={(event) => setTemplate(event.currentTarget.value)}
      />
      <ImportFooter {...props} body={body} disabledReason={refusal} />
    </div>
  );
}

function PathFacts({ found }: { found: Inspection }) {
  const { facts, problems } = found;
  const card = isObject(facts['card']) ? facts['card'] : {};
  return (
    <div role="status" className={classes.stack}>
      {problems.length > 0 && (
        <Alert color="red" title="It cannot be imported as it is">
          <ul className={classes.problems}>
            {problems.map((problem) => (
              <li key={problem}>{problem}</li>
            ))}
          </ul>
        </Alert>
      )}
      <div className={classes.found}>
        <Facts
          columns={3}
          facts={[
            { label: 'Real path', value: word(facts['path']), mono: true },
            { label: 'Files', value: typeof facts['fileCount'] === 'number' ? formatNumber(facts['fileCount']) : '—' },
            { label: 'Size', value: <Bytes value={typeof facts['totalBytes'] === 'number' ? facts['totalBytes'] : null} /> },
            { label: 'Architecture', value: word([card['architectures']].flat()[0] ?? card['modelType']) },
            { label: 'Data type', value: word(card['torchDtype'] ?? card['dtype']) },
            { label: 'Context length', value: word(card['maxPositionEmbeddings']) },
          ]}
        />
      </div>
    </div>
  );
}

function word(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '—';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
