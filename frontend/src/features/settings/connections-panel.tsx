import { Button, Group, Modal, NativeSelect, PasswordInput, Skeleton, Stack, Text, TextInput, VisuallyHidden } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useDisclosure } from '@mantine/hooks';
import { IconCircleCheck, IconPlus } from '@tabler/icons-react';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { ConfirmButton } from '@/components/confirm-button';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { request, type ApiProblem } from '@/lib/api/client';
import type { Connection, ConnectionKind } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';
import { CONNECTION_KINDS, connectionsQuery } from '@/lib/connections';
import { keys } from '@/lib/query-keys';
import classes from './settings-page.module.css';

const FIRST_ENDPOINTS: Record<ConnectionKind, string> = {
  huggingface: 'https://huggingface.co',
  registry: 'https://',
  s3: 'https://',
  http: 'https://',
};
const SECRETS: Record<ConnectionKind, { label: string; description: string }> = {
  huggingface: { label: 'Access token', description: 'May stay empty for a public hub.' },
  registry: { label: 'Account', description: 'Written as user:password or user:token.' },
  s3: { label: 'Keys', description: 'Written as access key:secret key.' },
  http: { label: 'Bearer token', description: 'Sent only to addresses that begin with the endpoint.' },
};
/** Another system may be slow to answer. */
const TRIAL_TIMEOUT_MS = 60_000;

/** Accounts at other systems from which models come; their secrets are never shown again. */
export function ConnectionsPanel({ mayChange }: { mayChange: boolean }) {
  const queryClient = useQueryClient();
  const [adding, dialog] = useDisclosure(false);
  const connections = useQuery(connectionsQuery);
  const refresh = () => void queryClient.invalidateQueries({ queryKey: keys.connections });
  const remove = useCommand<Connection>({
    request: ({ name }) => ({ method: 'DELETE', path: `/api/connections/${encodeURIComponent(name)}` }),
    accepted: (_, { name }) => `The connection ${name} is removed`,
    onAccepted: refresh,
  });
  const items = connections.data?.items ?? [];

  return (
    <Panel
      title="Connections"
      description="Accounts at hubs, registries and storage, which imports use by name."
      actions={
        mayChange && (
          <Button variant="default" leftSection={<IconPlus size={17} aria-hidden />} onClick={dialog.open}>
            New connection
          </Button>
        )
      }
      flush
    >
      <ProblemAlert problem={connections.error} onRetry={() => void connections.refetch()} />
      {connections.isPending && <Skeleton height={52} />}
      {connections.isSuccess && items.length === 0 && <p className={classes.none}>There is no connection.</p>}
      {items.length > 0 && (
        <table className={classes.table}>
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Kind</th>
              <th scope="col" className={classes.wideOnly}>
                Endpoint
              </th>
              <th scope="col">
                <VisuallyHidden>Actions</VisuallyHidden>
              </th>
            </tr>
          </thead>
          <tbody>
            {items.map((connection) => (
              <tr key={connection.id}>
                <td className={classes.name}>{connection.name}</td>
                <td className={classes.quiet}>{CONNECTION_KINDS[connection.kind]}</td>
                <td className={classes.wideOnly}>{connection.endpoint}</td>
                <td>
                  {mayChange && (
                    <ConfirmButton
                      variant="subtle"
                      color="red"
                      size="compact-sm"
                      aria-label={`Remove ${connection.name}`}
                      confirmation={{
                        title: `Remove the connection ${connection.name}?`,
                        message: 'Its secret is forgotten. Imports that name it fail from now on; models that came by it stay.',
                        confirmLabel: 'Remove the connection',
                        danger: true,
                        onConfirm: () => remove.mutate(connection),
                      }}
                    >
                      Remove
                    </ConfirmButton>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <NewConnectionDialog opened={adding} onClose={dialog.close} onSaved={refresh} />
    </Panel>
  );
}

interface NewConnection {
  name: string;
  kind: ConnectionKind;
  endpoint: string;
  secret: string;
}

interface NewConnectionDialogProps {
  opened: boolean;
  onClose: () => void;
  onSaved: () => void;
}

function NewConnectionDialog({ opened, onClose, onSaved }: NewConnectionDialogProps) {
  const form = useForm<NewConnection>({
    initialValues: { name: '', kind: 'huggingface', endpoint: FIRST_ENDPOINTS.huggingface, secret: '' },
    validate: {
      name: (name) => (name.trim() === '' || name.length > 64 ? 'Give a name of 1 to 64 characters.' : null),
      endpoint: (endpoint) => (/^https?:\/\/[^/]/.test(endpoint) ? null : 'Give a complete address that begins with https://.'),
    },
  });
  const trial = useMutation<{ message: string }, ApiProblem, NewConnection>({
    mutationFn: (values) =>
      request<{ message: string }>('POST', '/api/connections/test', { body: body(values), timeout: TRIAL_TIMEOUT_MS }),
  });
  const save = useCommand<NewConnection>({
    request: (values) => ({ method: 'POST', path: '/api/connections', body: body(values) }),
    accepted: (_, { name }) => `The connection ${name} is saved`,
    problems: 'inline',
    onAccepted: () => {
      onSaved();
      onClose();
    },
  });
  const { kind } = form.values;
  const forget = () => {
    trial.reset();
    save.reset();
  };
  form.watch('endpoint', forget);
  form.watch('secret', forget);

  return (
    <Modal
      opened={opened}
      onClose={onClose}
      onExitTransitionEnd={() => {
        forget();
        form.reset();
      }}
      title="New connection"
      size={520}
    >
      <form onSubmit={form.onSubmit((values) => save.mutate(values))} noValidate autoComplete="off">
        <Stack>
          <TextInput label="Name" description="Imports use the connection by this name." data-autofocus {...form.getInputProps('name')} />
          <NativeSelect
            label="Kind"
            data={Object.entries(CONNECTION_KINDS).map(([value, label]) => ({ value, label }))}
            value={kind}
            onChange={(event) => {
              const next = event.currentTarget.value as ConnectionKind;
              forget();
              form.setValues({ kind: next, endpoint: FIRST_ENDPOINTS[next], secret: '' });
            }}
          />
          <TextInput label="Endpoint" {...form.getInputProps('endpoint')} />
          <PasswordInput
            label={SECRETS[kind].label}
            description={`${SECRETS[kind].description} Kept encrypted, and never shown again.`}
            autoComplete="new-password"
            visibilityToggleButtonProps={{ 'aria-label': 'Show or hide what is typed' }}
            {...form.getInputProps('secret')}
          />
          <div role="status">
            {trial.data !== undefined && (
              <Text size="sm" className={classes.tried}>
                <IconCircleCheck size={18} aria-hidden /> {trial.data.message}
              </Text>
            )}
          </div>
          <ProblemAlert problem={save.error ?? trial.error} />
          <Group justify="flex-end" gap="sm">
            <Button variant="default" onClick={onClose}>
              Cancel
            </Button>
            <Button
              variant="default"
              loading={trial.isPending}
              onClick={() => {
                save.reset();
                if (!form.validate().hasErrors) trial.mutate(form.values);
              }}
            >
              Test
            </Button>
            <Button type="submit" loading={save.isPending}>
              Save
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}

function body({ name, kind, endpoint, secret }: NewConnection) {
  return { name: name.trim(), kind, endpoint: endpoint.trim(), secret: secret === '' ? null : secret };
}
