import { Button, Radio, TextInput } from '@mantine/core';
import { useState } from 'react';
import { Bytes } from '@/components/bytes';
import { Facts } from '@/components/facts';
import { ProblemAlert } from '@/components/problem-alert';
import type { ImportBody } from '@/lib/api/types';
import { formatBytes } from '@/lib/format';
import { suggestedName } from '@/lib/names';
import { ConnectionSelect } from './connection-select';
import classes from './form.module.css';
import { useLook } from './import-command';
import { ImportFooter, type SourceFormProps } from './import-footer';
import { IdentityFields, identityBody, identityRefusal } from './identity-fields';
import { firstKind, kindBody, KindFields, kindRefusal } from './kind-fields';
import { repositoryOf, type Repository } from './repository';

/** A repository of a Hugging Face hub: first looked at, then imported. */
export default function HubForm(props: SourceFormProps) {
  const { target } = props;
  const [asked, setAsked] = useState({ repository: '', revision: '', connection: null as string | null });
  const [identity, setIdentity] = useState({ name: '', version: '' });
  const [kind, setKind] = useState(() => firstKind(target));
  const [weights, setWeights] = useState<string | null>(null);
  const look = useLook();
  const repository = look.data === undefined ? null : repositoryOf(look.data.facts);
  const chosen = repository?.weightChoices.find(({ id }) => id === weights);

  const change = (part: Partial<typeof asked>) => {
    look.reset();
    setAsked({ ...asked, ...part });
  };
  const question = () => ({
    source: 'huggingface' as const,
    repository: asked.repository.trim(),
    revision: asked.revision.trim() === '' ? 'main' : asked.revision.trim(),
    connection: asked.connection,
  });
  const inspect = () => {
    if (asked.repository.trim() === '') return;
    look.mutate(question(), {
      onSuccess: ({ facts }) => {
        const found = repositoryOf(facts);
        setWeights(found.weightChoices.find(({ recommended }) => recommended)?.id ?? null);
        setIdentity({ ...identity, name: suggestedName(found.repository) });
      },
    });
  };
  const body: ImportBody = {
    ...question(),
    ...identityBody(identity, target),
    ...kindBody(kind),
    ...(weights !== null && { files: [weights] }),
  };
  const refusal =
    repository === null
      ? 'Look at the repository first.'
      : repository.weightChoices.length > 0 && weights === null
        ? 'Choose the weights.'
        : (kindRefusal(kind) ?? identityRefusal(identity, target));

  return (
    <div className={classes.stack}>
      <form
        className={classes.stack}
        onSubmit={(event) => {
          event.preventDefault();
          inspect();
        }}
      >
        <TextInput
          label="Repository"
          placeholder="organisation/model"
          value={asked.repository}
          onChange={(event) => change({ repository: event.currentTarget.value })}
        />
        <div className={classes.pair}>
          <TextInput
            label="Revision"
            placeholder="main, or a branch, tag or commit"
            value={asked.revision}
            onChange={(event) => change({ revision: event.currentTarget.value })}
          />
          <ConnectionSelect kinds={['huggingface']} value={asked.connection} onChange={(connection) => change({ connection })} />
        </div>
        {repository === null && (
          <div>
            <Button type="submit" variant="default" loading={look.isPending}>
              Look
            </Button>
          </div>
        )}
      </form>
      <ProblemAlert problem={look.error} />
      {repository !== null && (
        <>
          <div className={classes.found} role="status">
            <RepositoryFacts repository={repository} />
          </div>
          {repository.weightChoices.length > 0 && (
            <Radio.Group label="Weights" value={weights} onChange={setWeights}>
              <div className={classes.choices}>
                {repository.weightChoices.map((choice) => (
                  <Radio
                    key={choice.id}
                    value={choice.id}
                    className={classes.choice}
                    label={`${choice.label} · ${formatBytes(choice.bytes)}${choice.recommended ? ' · recommended' : ''}`}
                    {...(choice.hazard !== '' && { description: choice.hazard })}
                  />
                ))}
              </div>
            </Radio.Group>
          )}
          <KindFields value={kind} target={target} onChange={setKind} />
          <IdentityFields value={identity} onChange={setIdentity} target={target} />
        </>
      )}
      <ImportFooter {...props} body={body} disabledReason={refusal} {...(chosen?.format === 'pytorch' && { risks: PICKLE })} />
    </div>
  );
}

const PICKLE = ['pickle'] as const;

function RepositoryFacts({ repository }: { repository: Repository }) {
  return (
    <Facts
      columns={3}
      facts={[
        { label: 'Repository', value: repository.repository },
        { label: 'Commit', value: repository.commit.slice(0, 12), mono: true },
        { label: 'Licence', value: repository.license ?? 'Not stated' },
        { label: 'Access', value: access(repository) },
        { label: 'Task', value: repository.task ?? '—' },
        { label: 'All files', value: <Bytes value={repository.totalBytes} /> },
        ...(repository.baseModel === null ? [] : [{ label: 'Base model', value: repository.baseModel }]),
      ]}
    />
  );
}

function access({ gated, isPrivate }: Repository): string {
  if (gated) return 'Gated: terms accepted';
  return isPrivate ? 'Private' : 'Public';
}
