import { Button, Group, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { ActionButton } from '@/components/action-button';
import { ProblemAlert } from '@/components/problem-alert';
import { request, type ApiProblem } from '@/lib/api/client';
import type { BatchAnswer, ImportPreview } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';
import { formatNumber } from '@/lib/format';
import { AddressForm } from './address-form';
import { ConnectionSelect } from './connection-select';
import classes from './form.module.css';
import { LOOK_TIMEOUT_MS } from './import-command';
import type { SourceFormProps } from './import-footer';
import { OfferedTable } from './offered-table';
import { rowRefusal } from './selection';

/** Many models from one address: a manifest, a list, a directory, an S3 prefix, an organisation, a collection. */
export default function ListForm(props: SourceFormProps) {
  return props.target === null ? <ModelsForm onCancel={props.onCancel} /> : <AddressForm {...props} />;
}

interface Place {
  address: string;
  connection: string | null;
}

interface BatchRequest extends Place {
  manifestSha256: string;
  names: string[];
}

function ModelsForm({ onCancel }: Pick<SourceFormProps, 'onCancel'>) {
  const navigate = useNavigate();
  const [place, setPlace] = useState<Place>({ address: '', connection: null });
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const preview = useMutation<ImportPreview, ApiProblem, Place>({
    mutationFn: (body) => request<ImportPreview>('POST', '/api/imports/preview', { body, timeout: LOOK_TIMEOUT_MS }),
    onSuccess: () => setSelected(new Set()),
  });
  const send = useCommand<BatchRequest, BatchAnswer>({
    request: (body) => ({ method: 'POST', path: '/api/imports/batch', body }),
    problems: 'inline',
    onAccepted: ({ id }) => void navigate({ to: '/imports/$batchId', params: { batchId: id } }),
  });
  const change = (part: Partial<Place>) => {
    preview.reset();
    send.reset();
    setPlace({ ...place, ...part });
  };
  const look = () => {
    send.reset();
    if (place.address.trim() !== '') preview.mutate({ ...place, address: place.address.trim() });
  };
  const offered = preview.data;
  const importable = offered?.rows.filter((row) => rowRefusal(row) === null).length ?? 0;

  return (
    <div className={classes.stack}>
      <form
        className={classes.stack}
        onSubmit={(event) => {
          event.preventDefault();
          look();
        }}
      >
        <TextInput
          label="Address"
          description="A manifest (JSON, YAML, CSV), list, directory, S3 prefix, or hub organisation or collection."
          placeholder="https://, s3://bucket/prefix or organisation"
          value={place.address}
          onChange={(event) => change({ address: event.currentTarget.value })}
        />
        <div className={classes.look}>
          <ConnectionSelect
            kinds={['huggingface', 's3', 'http']}
            value={place.connection}
            onChange={(connection) => change({ connection })}
          />
          <Button type="submit" variant="default" loading={preview.isPending}>
            Look
          </Button>
        </div>
      </form>
      <ProblemAlert problem={preview.error} />
      {offered !== undefined && (
        <>
          <p className={classes.hint} role="status">
            {offered.title === '' ? '' : `${offered.title}: `}
            {formatNumber(offered.rows.length)} {offered.rows.length === 1 ? 'model' : 'models'}, {formatNumber(importable)} can
            be imported
          </p>
          <OfferedTable rows={offered.rows} selected={selected} onSelect={setSelected} />
        </>
      )}
      <ProblemAlert problem={send.error} {...(send.error?.status === 409 && { onRetry: look })} />
      <Group justify="flex-end" mt="sm" gap="sm">
        <Button variant="default" onClick={onCancel}>
          Cancel
        </Button>
        <ActionButton
          disabledReason={
            offered === undefined ? 'Look at an address first.' : selected.size === 0 ? 'Choose at least one model.' : null
          }
          loading={send.isPending}
          onClick={() =>
            offered !== undefined &&
            send.mutate({
              address: place.address.trim(),
              connection: place.connection,
              manifestSha256: offered.manifestSha256,
              names: [...selected],
            })
          }
        >
          {selected.size === 0 ? 'Import' : `Import ${formatNumber(selected.size)} ${selected.size === 1 ? 'model' : 'models'}`}
        </ActionButton>
      </Group>
    </div>
  );
}
