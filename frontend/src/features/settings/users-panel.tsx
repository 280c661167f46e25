import { Button, Group, Modal, NativeSelect, PasswordInput, Skeleton, Stack, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useDisclosure } from '@mantine/hooks';
import { IconPlus } from '@tabler/icons-react';
import { useInfiniteQuery, useQueryClient } from '@tanstack/react-query';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { ShowMore } from '@/components/show-more';
import { RelativeTime } from '@/components/relative-time';
import type { Person, Role, User } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';
import { pagedQuery } from '@/lib/queries';
import { keys } from '@/lib/query-keys';
import classes from './settings-page.module.css';

const ROLES: { value: Role; label: string }[] = [
  { value: 'admin', label: 'admin: everything, and other accounts' },
  { value: 'operator', label: 'operator: import, deploy, publish' },
  { value: 'auditor', label: 'auditor: read everything' },
  { value: 'integrator', label: 'integrator: API keys and events' },
  { value: 'viewer', label: 'viewer: look' },
];

/** Who may sign in, and with which role. */
export function UsersPanel({ self }: { self: User }) {
  const queryClient = useQueryClient();
  const [adding, dialog] = useDisclosure(false);
  const mayChange = self.role === 'admin';
  const users = useInfiniteQuery(pagedQuery<Person>(keys.users, '/api/users'));
  const refresh = () => void queryClient.invalidateQueries({ queryKey: keys.users });
  const changeRole = useCommand<{ person: Person; role: Role }>({
    request: ({ person, role }) => ({ method: 'PATCH', path: `/api/users/${person.id}`, body: { role } }),
    accepted: (_, { person, role }) => `${person.username} has the role ${role} now.`,
    onAccepted: refresh,
  });

  return (
    <Panel
      title="People"
      description="Who may sign in, and what each may do."
      actions={
        mayChange && (
          <Button variant="default" leftSection={<IconPlus size={17} aria-hidden />} onClick={dialog.open}>
            Add a person
          </Button>
        )
      }
      flush
    >
      <ProblemAlert problem={users.error} onRetry={() => void users.refetch()} />
      {users.isPending && <Skeleton height={52} />}
      {users.data !== undefined && (
        <table className={classes.table}>
          <thead>
            <tr>
              <th scope="col">User name</th>
              <th scope="col" className={classes.wideOnly}>
                Since
              </th>
              <th scope="col">Role</th>
            </tr>
          </thead>
          <tbody>
            {users.data.map((person) => (
              <tr key={person.id}>
                <td className={classes.name}>{person.username}</td>
                <td className={`${classes.quiet ?? ''} ${classes.wideOnly ?? ''}`}>
                  <RelativeTime time={person.createdAt} />
                </td>
                <td>
                  {mayChange && person.id !== self.id ? (
                    <NativeSelect
                      aria-label={`Role of ${person.username}`}
                      data={ROLES.map(({ value }) => value)}
                      value={person.role}
                      w={140}
                      ml="auto"
                      onChange={(event) => changeRole.mutate({ person, role: event.currentTarget.value as Role })}
                    />
                  ) : (
                    person.role
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <ShowMore list={users}>Show more people</ShowMore>
      <AddPersonDialog opened={adding} onClose={dialog.close} onAdded={refresh} />
    </Panel>
  );
}

interface AddPersonDialogProps {
  opened: boolean;
  onClose: () => void;
  onAdded: () => void;
}

function AddPersonDialog({ opened, onClose, onAdded }: AddPersonDialogProps) {
  const form = useForm({
    initialValues: { username: '', password: '', role: 'operator' },
    validate: {
      username: (name) =>
        /^[a-z0-9._-]{1,64}$/.test(name) ? null : 'Use 1 to 64 lower-case letters, digits, dots, hyphens and underscores.',
      password: (text) => (text.length < 12 ? 'Use at least 12 characters.' : null),
    },
  });
  const add = useCommand<typeof form.values>({
    request: (body) => ({ method: 'POST', path: '/api/users', body }),
    accepted: (_, { username }) => `${username} can sign in now.`,
    problems: 'inline',
    onAccepted: () => {
      onAdded();
      onClose();
    },
  });

  return (
    <Modal
      opened={opened}
      onClose={onClose}
      onExitTransitionEnd={() => {
        form.reset();
        add.reset();
      }}
      title="Add a person"
    >
      <form
        onSubmit={form.onSubmit((values) => add.mutate(values, { onError: (problem) => form.setErrors(problem.fieldErrors) }))}
        noValidate
      >
        <Stack>
          <TextInput label="User name" autoComplete="off" data-autofocus {...form.getInputProps('username')} />
          <PasswordInput
            label="First password"
            description="At least 12 characters. The person changes it after signing in."
            autoComplete="new-password"
            {...form.getInputProps('password')}
          />
          <NativeSelect label="Role" data={ROLES} {...form.getInputProps('role')} />
          {add.error?.errors.length === 0 && <ProblemAlert problem={add.error} />}
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              Cancel
            </Button>
            <Button type="submit" loading={add.isPending}>
              Add the person
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
