import { Alert, Button, Group, Modal, NumberInput, Select, TextInput } from '@mantine/core';
import { IconKey } from '@tabler/icons-react';
import { useState } from 'react';
import { CodeBlock } from '@/components/code-block';
import { ProblemAlert } from '@/components/problem-alert';
import type { CreatedApiKey, ModelDetail } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';
import classes from './api-key-dialog.module.css';

const MAX_NAME_LENGTH = 64;
const MAX_REQUESTS = 1_000_000;
const DAY_MS = 86_400_000;

const LIFETIMES = [
  { value: 'never', label: 'Never' },
  { value: '7', label: 'In 7 days' },
  { value: '30', label: 'In 30 days' },
  { value: '90', label: 'In 90 days' },
  { value: '365', label: 'In one year' },
];

interface NewKey {
  name: string;
  expiresAt: string | null;
  requestsPerMinute: number | null;
}

interface ApiKeyDialogProps {
  model: ModelDetail;
  opened: boolean;
  onClose: () => void;
}

/** Makes a key and shows its secret, which exists in readable form only here. */
export function ApiKeyDialog({ model, opened, onClose }: ApiKeyDialogProps) {
  /** Empty when the command was repeated after a lost answer: the server does not know the secret any more. */
  const [secret, setSecret] = useState<string | null>(null);
  const close = () => {
    setSecret(null);
    onClose();
  };
  return (
    <Modal
      opened={opened}
      onClose={close}
      title={title(secret, model.name)}
      // A stray click must not take away a secret that cannot be shown again.
      closeOnClickOutside={!secret}
      closeOnEscape={!secret}
      withCloseButton={!secret}
    >
      {secret === null && <KeyForm model={model} onCreated={setSecret} onCancel={close} />}
      {secret === '' && (
        <Alert color="ochre" title="The answer with the key got lost on its way">
          The key was created, but it can be shown only once and that time has passed. Revoke it, then create another
          one.
        </Alert>
      )}
      {secret !== null && secret !== '' && (
        <>
          <Alert icon={<IconKey size={20} aria-hidden />} mb="md">
            This is the only time the key is shown. Loggia keeps just a hash of it.
          </Alert>
          <CodeBlock code={secret} what="API key" />
          <Button fullWidth mt="md" onClick={close}>
            I have copied the key
          </Button>
        </>
      )}
    </Modal>
  );
}

function title(secret: string | null, name: string): string {
  if (secret === null) return `New API key for ${name}`;
  return secret === '' ? 'The key cannot be shown' : 'Copy the key now';
}

interface KeyFormProps {
  model: ModelDetail;
  onCreated: (secret: string) => void;
  onCancel: () => void;
}

function KeyForm({ model, onCreated, onCancel }: KeyFormProps) {
  const [name, setName] = useState('');
  const [lifetime, setLifetime] = useState('never');
  const [limit, setLimit] = useState<number | ''>('');
  const [submitted, setSubmitted] = useState(false);
  const create = useCommand<NewKey, CreatedApiKey>({
    modelId: model.id,
    request: (key) => ({ method: 'POST', path: `/api/models/${model.id}/api-keys`, body: key }),
    problems: 'inline',
    onAccepted: (answer) => onCreated(answer.secret),
  });
  const nameError = name.trim() === '' ? 'Say what the key is for, so that you revoke the right one later.' : null;
  const serverErrors = create.error?.fieldErrors ?? {};

  return (
    <form
      className={classes.form}
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        setSubmitted(true);
        if (nameError !== null) return;
        create.mutate({
          name: name.trim(),
          expiresAt: lifetime === 'never' ? null : new Date(Date.now() + Number(lifetime) * DAY_MS).toISOString(),
          requestsPerMinute: limit === '' ? null : limit,
        });
      }}
    >
      <TextInput
        data-autofocus
        label="Name"
        description="What will use the key, for instance the application."
        maxLength={MAX_NAME_LENGTH}
        value={name}
        error={(submitted ? nameError : null) ?? serverErrors['name']}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      <Select
        label="Expires"
        allowDeselect={false}
        data={LIFETIMES}
        value={lifetime}
        error={serverErrors['expiresAt']}
        onChange={(value) => setLifetime(value ?? 'never')}
      />
      <NumberInput
        label="Requests a minute"
        description="Leave empty for no limit."
        min={1}
        max={MAX_REQUESTS}
        allowDecimal={false}
        clampBehavior="strict"
        thousandSeparator=","
        value={limit}
        error={serverErrors['requestsPerMinute']}
        onChange={(value) => setLimit(typeof value === 'number' ? value : '')}
      />
      {create.error?.errors.length === 0 && <ProblemAlert problem={create.error} />}
      <Group justify="flex-end" gap="sm">
        <Button variant="default" onClick={onCancel}>
          Cancel
        </Button>
        <Button type="submit" loading={create.isPending}>
          Create key
        </Button>
      </Group>
    </form>
  );
}
