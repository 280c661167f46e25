import { PasswordInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { ActionButton } from '@/components/action-button';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { useCommand } from '@/lib/commands';
import classes from './settings-page.module.css';

const MIN_LENGTH = 12;

export function PasswordPanel({ username }: { username: string }) {
  const form = useForm({
    initialValues: { current: '', new: '', repeated: '' },
    validate: {
      current: (text) => (text === '' ? 'Type the password with which you signed in.' : null),
      new: (text) => (text.length < MIN_LENGTH ? `Use at least ${MIN_LENGTH} characters.` : null),
      repeated: (text, values) => (text === values.new ? null : 'This differs from the new password.'),
    },
  });
  const change = useCommand<{ current: string; new: string }>({
    request: (body) => ({ method: 'POST', path: '/api/session/password', body }),
    accepted: 'Your password is changed. Other sessions of yours have ended.',
    problems: 'inline',
    onAccepted: () => form.reset(),
  });
  const submit = form.onSubmit(({ repeated: _, ...passwords }) =>
    change.mutate(passwords, { onError: (problem) => form.setErrors(problem.fieldErrors) }),
  );

  return (
    <Panel title="Password" description="After a change, your other sessions end; this one goes on.">
      <form className={classes.form} onSubmit={submit} noValidate>
        {/* Lets password managers know whose password this is. */}
        <input type="text" name="username" autoComplete="username" value={username} readOnly hidden />
        <PasswordInput label="Current password" autoComplete="current-password" {...form.getInputProps('current')} />
        <PasswordInput
          label="New password"
          description={`At least ${MIN_LENGTH} characters.`}
          autoComplete="new-password"
          {...form.getInputProps('new')}
        />
        <PasswordInput label="New password again" autoComplete="new-password" {...form.getInputProps('repeated')} />
        {change.error?.errors.length === 0 && <ProblemAlert problem={change.error} />}
        <div>
          <ActionButton type="submit" loading={change.isPending}>
            Change password
          </ActionButton>
        </div>
      </form>
    </Panel>
  );
}
