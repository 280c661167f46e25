import { Alert, Button, Group, Modal, Skeleton, Stack, TextInput, VisuallyHidden } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useDisclosure } from '@mantine/hooks';
import { IconPlus } from '@tabler/icons-react';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { ConfirmButton } from '@/components/confirm-button';
import { CopyButton } from '@/components/copy-button';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { RelativeTime } from '@/components/relative-time';
import { request } from '@/lib/api/client';
import type { AccessToken, CreatedAccessToken } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';
import { keys } from '@/lib/query-keys';
import classes from './settings-page.module.css';

/** Tokens with which the CLI and programs act in this person's name. */
export function TokensPanel() {
  const queryClient = useQueryClient();
  const [creating, dialog] = useDisclosure(false);
  const tokens = useQuery({
    queryKey: keys.tokens,
    queryFn: ({ signal }) => request<{ items: AccessToken[] }>('GET', '/api/tokens', { signal }),
  });
  const refresh = () => void queryClient.invalidateQueries({ queryKey: keys.tokens });
  const revoke = useCommand<AccessToken>({
    request: ({ id }) => ({ method: 'DELETE', path: `/api/tokens/${id}` }),
    accepted: (_, { name }) => `The token ${name} is revoked.`,
    onAccepted: refresh,
  });

  return (
    <Panel
      title="Access tokens"
      description="The CLI and your programs use them to act in your name."
      actions={
        <Button variant="default" leftSection={<IconPlus size={17} aria-hidden />} onClick={dialog.open}>
          New token
        </Button>
      }
      flush
    >
      <ProblemAlert problem={tokens.error} onRetry={() => void tokens.refetch()} />
      {tokens.isPending && <Skeleton height={52} />}
      {tokens.data?.items.length === 0 && <p className={classes.none}>You have no access token.</p>}
      {tokens.data !== undefined && tokens.data.items.length > 0 && (
        <table className={classes.table}>
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col" className={classes.wideOnly}>
                Begins with
              </th>
              <th scope="col">Last used</th>
              <th scope="col">
                <VisuallyHidden>Actions</VisuallyHidden>
              </th>
            </tr>
          </thead>
          <tbody>
            {tokens.data.items.map((token) => (
              <tr key={token.id}>
                <td className={classes.name}>{token.name}</td>
                <td className={classes.wideOnly}>
                  <code>{token.prefix}…</code>
                </td>
                <td className={classes.quiet}>
                  {token.lastUsedAt === null ? 'never' : <RelativeTime time={token.lastUsedAt} />}
                </td>
                <td>
                  <ConfirmButton
                    variant="subtle"
                    color="red"
                    size="compact-sm"
                    confirmation={{
                      title: `Revoke the token ${token.name}?`,
                      message: 'Programs that use it are refused at once. It cannot be brought back.',
                      confirmLabel: 'Revoke the token',
                      danger: true,
                      onConfirm: () => revoke.mutate(token),
                    }}
                  >
                    Revoke
                  </ConfirmButton>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <NewTokenDialog opened={creating} onClose={dialog.close} onCreated={refresh} />
    </Panel>
  );
}

interface NewTokenDialogProps {
  opened: boolean;
  onClose: () => void;
  onCreated: () => void;
}

function NewTokenDialog({ opened, onClose, onCreated }: NewTokenDialogProps) {
  const form = useForm({
    initialValues: { name: '' },
    validate: {
      name: (name) => (name.trim() === '' || name.length > 64 ? 'Give a name of 1 to 64 characters.' : null),
    },
  });
  const create = useCommand<{ name: string }, CreatedAccessToken>({
    request: (body) => ({ method: 'POST', path: '/api/tokens', body }),
    problems: 'inline',
    onAccepted: onCreated,
  });
  const reset = () => {
    create.reset();
    form.reset();
  };

  return (
    <Modal opened={opened} onClose={onClose} onExitTransitionEnd={reset} title="New access token">
      {create.data === undefined ? (
        <form onSubmit={form.onSubmit((values) => create.mutate(values))} noValidate>
          <Stack>
            <TextInput
              label="Name"
              description="Say where it is used, so that you can revoke the right one later."
              data-autofocus
              {...form.getInputProps('name')}
            />
            <ProblemAlert problem={create.error} />
            <Group justify="flex-end">
              <Button variant="default" onClick={onClose}>
                Cancel
              </Button>
              <Button type="submit" loading={create.isPending}>
                Create token
              </Button>
            </Group>
          </Stack>
        </form>
      ) : (
        <Stack>
          <Alert color="ochre" title="Copy it now">
            It is shown only this once. Loggia keeps nothing but its hash.
          </Alert>
          <div className={classes.secret}>
            <code>{create.data.token}</code>
            <CopyButton value={create.data.token} what="token" />
          </div>
          <Group justify="flex-end">
            <Button onClick={onClose}>I have copied it</Button>
          </Group>
        </Stack>
      )}
    </Modal>
  );
}
