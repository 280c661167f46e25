import { Button, PasswordInput, TextInput } from '@mantine/core';
import { isNotEmpty, useForm } from '@mantine/form';
import { useDocumentTitle } from '@mantine/hooks';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, useRouter } from '@tanstack/react-router';
import { useEffect, useState } from 'react';
import { Logo } from '@/components/logo';
import { ProblemAlert } from '@/components/problem-alert';
import { request, type ApiProblem } from '@/lib/api/client';
import type { Session } from '@/lib/api/types';
import { formatDuration } from '@/lib/format';
import { keys } from '@/lib/query-keys';
import classes from './sign-in-page.module.css';

const route = getRouteApi('/signin');

export default function SignInPage() {
  useDocumentTitle('Sign in · Loggia');
  const { next } = route.useSearch();
  const router = useRouter();
  const queryClient = useQueryClient();
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { username: '', password: '' },
    validate: {
      username: isNotEmpty('Enter your user name.'),
      password: isNotEmpty('Enter your password.'),
    },
  });

  const signIn = useMutation<Session, ApiProblem, { username: string; password: string }>({
    mutationFn: (body) => request<Session>('POST', '/api/session', { body }),
    onSuccess: (session) => {
      queryClient.clear();
      queryClient.setQueryData(keys.session, session);
      router.history.push(isOwnPath(next) ? next : '/');
    },
    onError: () => form.setFieldValue('password', ''),
  });
  const wait = useCountdown(signIn.error?.status === 429 ? signIn.error : null);

  return (
    <main className={classes.page}>
      <div className={classes.wall} aria-hidden>
        <svg viewBox="0 0 640 800" preserveAspectRatio="xMidYMax slice" focusable="false">
          {[0, 1, 2].map((column) => (
            <g key={column} transform={`translate(${column * 213} 0)`}>
              <path d="M26 800V430a80 80 0 0 1 160 0v370" />
              <path d="M46 800V434a60 60 0 0 1 120 0v366" />
              <path d="M26 430h-8M186 430h8" />
            </g>
          ))}
          <path d="M0 318h640M0 304h640M0 290h640" />
          <circle cx="320" cy="392" r="7" />
        </svg>
      </div>
      <div className={classes.side}>
        <form
          className={classes.form}
          onSubmit={form.onSubmit((values) => signIn.mutate(values))}
          noValidate
          aria-labelledby="sign-in-title"
        >
          <div className={classes.brand}>
            <Logo size={34} />
            Loggia
          </div>
          <h1 id="sign-in-title" className={classes.title}>
            Sign in
          </h1>
          <p className={classes.lead}>Import, deploy and publish AI models, and see everything that happened to them.</p>
          <TextInput
            label="User name"
            name="username"
            autoComplete="username"
            autoCapitalize="none"
            spellCheck={false}
            size="md"
            autoFocus
            key={form.key('username')}
            {...form.getInputProps('username')}
          />
          <PasswordInput
            label="Password"
            name="password"
            autoComplete="current-password"
            size="md"
            mt="md"
            key={form.key('password')}
            {...form.getInputProps('password')}
          />
          <ProblemAlert problem={signIn.error} mt="md" />
          <Button
            type="submit"
            size="md"
            fullWidth
            mt="lg"
            loading={signIn.isPending}
            disabled={wait > 0}
          >
            {wait > 0 ? `Try again in ${formatDuration(wait)}` : 'Sign in'}
          </Button>
          <p className={classes.hint}>
            The first administrator’s name and password are printed once, where Loggia was first started.
          </p>
        </form>
      </div>
    </main>
  );
}

/** Only paths of this application: a full address would lead a signed-in person elsewhere. */
function isOwnPath(next: string | undefined): next is string {
  return next !== undefined && next.startsWith('/') && !next.startsWith('//') && !next.includes('\\');
}

/** Seconds until the server accepts another attempt. */
function useCountdown(problem: ApiProblem | null): number {
  const [left, setLeft] = useState({ problem, seconds: 0 });
  const seconds = left.problem === problem ? left.seconds : Math.ceil(problem?.retryAfter ?? 0);

  useEffect(() => {
    if (problem?.retryAfter == null) return;
    const until = Date.now() + problem.retryAfter * 1000;
    const timer = setInterval(() => {
      const rest = Math.max(0, Math.ceil((until - Date.now()) / 1000));
      setLeft({ problem, seconds: rest });
      if (rest === 0) clearInterval(timer);
    }, 500);
    return () => clearInterval(timer);
  }, [problem]);

  return seconds;
}
