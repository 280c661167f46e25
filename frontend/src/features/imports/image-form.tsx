import { Button, FileButton, Select, Skeleton, TagsInput, Textarea, TextInput } from '@mantine/core';
import { IconUpload } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { lazy, Suspense, useState } from 'react';
import { Bytes } from '@/components/bytes';
import { Facts } from '@/components/facts';
import { LinksField } from '@/components/links-field';
import { ProblemAlert } from '@/components/problem-alert';
import { request } from '@/lib/api/client';
import type { ImportBody } from '@/lib/api/types';
import { cleanDetails, detailsErrors, MAX_DESCRIPTION_LENGTH, MAX_LABELS, type Details } from '@/lib/details';
import { suggestedName } from '@/lib/names';
import { DEPLOYMENT_TYPES } from '@/lib/origin-words';
import { ConnectionSelect } from './connection-select';
import { FIRST_CONFIGURATION, jsonFault, parametersSchemas } from '@/lib/container-configuration';
import classes from './form.module.css';
import { configurationFaults, useLook } from './import-command';
import { ImportFooter, type SourceFormProps } from './import-footer';
import { IdentityFields, identityBody, identityRefusal } from './identity-fields';
import type { JsonSchema } from '@/lib/json-schema';
import { ParametersFields } from './parameters-fields';
import { NO_RESOURCES, ResourceFields, resourcesBody } from './resource-fields';

const JsonEditor = lazy(() => import('./json-editor'));
const MAX_FILE_BYTES = 256 * 1024;

/** A container image that serves the model itself: what it is, and how it is run. */
export default function ImageForm(props: SourceFormProps) {
  const { target } = props;
  const [reference, setReference] = useState('');
  const [connection, setConnection] = useState<string | null>(null);
  const [identity, setIdentity] = useState({ name: '', version: '' });
  const [details, setDetails] = useState<Details>({ description: '', labels: [], documentationLinks: [] });
  const [deploymentType, setDeploymentType] = useState('real_time');
  const [configuration, setConfiguration] = useState(FIRST_CONFIGURATION);
  const [configurationFile, setConfigurationFile] = useState<string | null>(null);
  const [schemas, setSchemas] = useState({ input: '', output: '' });
  const [minimum, setMinimum] = useState(NO_RESOURCES);
  const schema = useQuery({
    queryKey: ['container-configuration-schema'],
    queryFn: ({ signal }) => request<JsonSchema>('GET', '/schema/container-configuration.json', { signal }),
    staleTime: Infinity,
    retry: false,
  });
  const look = useLook();
  const question = { source: 'container_image' as const, reference: reference.trim(), connection };
  const looked = look.variables?.['reference'] === question.reference && look.variables['connection'] === connection;
  const facts = looked ? look.data?.facts : undefined;

  const inspect = () => {
    if (question.reference === '' || (looked && !look.isError)) return;
    look.mutate(question, {
      onSuccess: () => {
        const name = suggestedName(question.reference.replace(/@.*$/, '').replace(/:[^/]*$/, ''));
        setIdentity((before) => (before.name === '' ? { ...before, name } : before));
      },
    });
  };
  const load = async (file: File | null) => {
    if (file === null) return;
    if (file.size > MAX_FILE_BYTES) {
      setConfigurationFile('This file is larger than 256 KiB. Choose another one.');
      return;
    }
    setConfiguration(await file.text());
    setConfigurationFile(`Read from ${file.name}.`);
  };

  const errors = detailsErrors(details);
  const derived = parametersSchemas(configuration);
  const body: ImportBody = {
    ...question,
    ...identityBody(identity, target),
    ...(target === null && { ...cleanDetails(details) }),
    deploymentType,
    configuration,
    ...(schemas.input.trim() !== '' && { inputSchema: schemas.input }),
    ...(schemas.output.trim() !== '' && { outputSchema: schemas.output }),
    minimum: resourcesBody(minimum),
  };
  const refusal =
    facts === undefined
      ? 'Name an image that its registry shows.'
      : (identityRefusal(identity, target) ??
        Object.values(errors)[0] ??
        (jsonFault(configuration) === null ? null : 'Correct the configuration file.') ??
        (schemas.input.trim() !== '' && jsonFault(schemas.input) !== null ? 'Correct the schema of the input.' : null) ??
        (schemas.output.trim() !== '' && jsonFault(schemas.output) !== null ? 'Correct the schema of the output.' : null));

  return (
    <div className={classes.stack}>
      <form
        className={classes.stack}
        onSubmit={(event) => {
          event.preventDefault();
          inspect();
        }}
      >
        <div className={classes.look}>
          <TextInput
            label="Image reference"
            placeholder="registry.example.org/team/model:1.0"
            classNames={{ input: classes.mono }}
            value={reference}
            onChange={(event) => setReference(event.currentTarget.value)}
            onBlur={inspect}
          />
          <Button type="submit" variant="default" loading={look.isPending}>
            Look
          </Button>
        </div>
        <ConnectionSelect kinds={['registry']} value={connection} onChange={setConnection} />
      </form>
      {looked && <ProblemAlert problem={look.error} />}
      {facts !== undefined && (
        <div className={classes.found} role="status">
          <ImageFacts facts={facts} />
        </div>
      )}
      <IdentityFields value={identity} onChange={setIdentity} target={target} />
      {target === null && (
        <>
          <TagsInput
            label="Labels"
            description={`Up to ${MAX_LABELS}. Type one and press Enter.`}
            maxTags={MAX_LABELS}
            value={details.labels}
            error={errors['labels']}
            onChange={(labels) => setDetails({ ...details, labels })}
          />
          <Textarea
            label="Description"
            autosize
            minRows={2}
            maxRows={8}
            maxLength={MAX_DESCRIPTION_LENGTH}
            value={details.description}
            onChange={(event) => setDetails({ ...details, description: event.currentTarget.value })}
          />
        </>
      )}
      <Select
        label="Deployment type"
        allowDeselect={false}
        data={Object.entries(DEPLOYMENT_TYPES).map(([value, label]) => ({ value, label }))}
        value={deploymentType}
        onChange={(value) => setDeploymentType(value ?? 'real_time')}
      />
      <fieldset className={classes.group}>
        <legend className={classes.legend}>Configuration file</legend>
        <div className={classes.stack} data-tight>
          <p className={classes.hint}>
            How the container is run: port, health check, interfaces, environment. Ctrl+Space completes.
          </p>
          <Suspense fallback={<Skeleton height={240} radius="md" />}>
            <JsonEditor label="Configuration file" value={configuration} onChange={setConfiguration} schema={schema.data ?? null} check={configurationFaults} />
          </Suspense>
          <div>
            <FileButton onChange={(file) => void load(file)} accept="application/json,.json">
              {(button) => (
                <Button {...button} size="xs" variant="default" leftSection={<IconUpload size={15} aria-hidden />}>
                  Read it from a file
                </Button>
              )}
            </FileButton>{' '}
            <span className={classes.hint} role="status">
              {configurationFile}
            </span>
          </div>
        </div>
      </fieldset>
      <ParametersFields derived={derived} schemas={schemas} onChange={setSchemas} />
      <ResourceFields legend="Minimum specification for inference" value={minimum} onChange={setMinimum} />
      {target === null && (
        <LinksField
          links={details.documentationLinks}
          errors={errors}
          onChange={(documentationLinks) => setDetails({ ...details, documentationLinks })}
        />
      )}
      <ImportFooter {...props} body={body} disabledReason={refusal} />
    </div>
  );
}

function ImageFacts({ facts }: { facts: Record<string, unknown> }) {
  const list = (value: unknown) => (Array.isArray(value) && value.length > 0 ? value.join(', ') : '—');
  const word = (value: unknown) => (typeof value === 'string' && value !== '' ? value : '—');
  return (
    <Facts
      columns={2}
      facts={[
        { label: 'Digest', value: word(facts['digest']), mono: true },
        { label: 'Platform', value: word(facts['platform']) },
        { label: 'Size', value: <Bytes value={typeof facts['sizeBytes'] === 'number' ? facts['sizeBytes'] : null} /> },
        { label: 'Ports', value: list(facts['ports']) },
        { label: 'Starts', value: list([facts['entrypoint'], facts['command']].flat().filter(Boolean)), mono: true },
        { label: 'Environment', value: list(facts['environmentNames']) },
      ]}
    />
  );
}
