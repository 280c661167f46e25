import { Alert, Button, Group, Stepper } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useEffect, useRef, useState } from 'react';
import { ActionButton } from '@/components/action-button';
import { ProblemAlert } from '@/components/problem-alert';
import type { ApiProblem } from '@/lib/api/client';
import type { Deployment, DeployConfiguration, DeployOptions, EngineOptions, ModelDetail } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';
import { problemPath } from '@/lib/configuration';
import { engineOptionsQuery } from '@/lib/deployment';
import { cleanDetails, detailsErrors, detailsOf, sameDetails, type Details } from '@/lib/details';
import { clearDraft, loadDraft, saveDraft } from './draft-storage';
import { configurationOf, draftOf, draftProblems, stepOf, type Draft, type Problems, type StepId } from './draft';
import { GeneralStep } from './general-step';
import { HardwareStep } from './hardware-step';
import { OptimizationStep } from './optimization-step';
import { ParametersStep } from './parameters-step';
import { ReviewStep } from './review-step';
import classes from './wizard.module.css';

export interface StepProps {
  draft: Draft;
  onChange: (part: Partial<Draft>) => void;
  /** A field has been left: what is wrong with it is shown from then on. */
  onLeave: (path: string) => void;
  /** Only those that the person should see by now. */
  problems: Problems;
  options: DeployOptions;
  /** The chosen engine's own argument list, once it is known. */
  engineOptions: EngineOptions | undefined;
  model: ModelDetail;
}

export type WizardDetails = Pick<Details, 'description' | 'labels'>;

interface DeployRequest {
  configuration: DeployConfiguration;
  terms: { version: string; accepted: true };
  reason?: string;
}

interface WizardProps {
  model: ModelDetail;
  deployment: Deployment | null;
  options: DeployOptions;
  /** Begins again with what is there now. */
  onStartOver: () => void;
}

const STEPS: { id: StepId; title: string }[] = [
  { id: 'general', title: 'General' },
  { id: 'optimization', title: 'Optimization' },
  { id: 'parameters', title: 'Parameters' },
  { id: 'hardware', title: 'Hardware' },
  { id: 'review', title: 'Review' },
];

/** Five steps to a revision. Going back and reloading keep every value; a refusal leads to the step of its field. */
export function Wizard({ model, deployment, options, onStartOver }: WizardProps) {
  const navigate = useNavigate();
  const heading = useRef<HTMLHeadingElement>(null);
  const [base] = useState(() => deployment?.pending?.configuration ?? deployment?.configuration ?? options.defaults);
  const [kept] = useState(() => loadDraft(sessionStorage, model.id, base));
  const [restored, setRestored] = useState(kept !== null);
  const [draft, setDraft] = useState(() => kept?.draft ?? draftOf(base));
  const [details, setDetails] = useState<WizardDetails>(() => kept?.details ?? detailsOf(model));
  const [active, setActive] = useState(kept?.step ?? 0);
  const [furthest, setFurthest] = useState(kept?.step ?? 0);
  /** Steps whose problems are shown: those that the person has tried to leave. */
  const [checked, setChecked] = useState<ReadonlySet<StepId>>(new Set());
  const [left, setLeft] = useState<ReadonlySet<string>>(new Set());
  /** The revision whose values the person works on; another one may be asked for meanwhile. */
  const [revision, setRevision] = useState(deployment?.desiredRevision ?? null);
  const [refused, setRefused] = useState<Problems>({});
  const [accepted, setAccepted] = useState(false);
  const [reason, setReason] = useState(kept?.reason ?? '');
  const done = useRef(false);
  const [last, setLast] = useState<'deploy' | 'keep'>('deploy');
  const { data: engineOptions } = useQuery(
    engineOptionsQuery(draft.engine, draft.hardware.accelerator, draft.hardware.server),
  );

  const [untouched] = useState(() => JSON.stringify([configurationOf(draftOf(base), base), '']));
  useEffect(() => {
    if (done.current) return;
    const typed =
      JSON.stringify([configurationOf(draft, base), reason]) !== untouched ||
      !sameDetails({ ...detailsOf(model), ...details }, detailsOf(model));
    if (typed) saveDraft(sessionStorage, model.id, base, { draft, details, reason, step: active });
    else clearDraft(sessionStorage, model.id);
  }, [model, base, untouched, draft, details, reason, active]);

  const leave = () => {
    done.current = true;
    clearDraft(sessionStorage, model.id);
    void navigate({ to: '/models/$modelId', params: { modelId: model.id }, search: { tab: 'deployments' } });
  };
  const wanted: Details = { ...detailsOf(model), ...details };
  const describe = useCommand<Details>({
    modelId: model.id,
    request: (body) => ({ method: 'PATCH', path: `/api/models/${model.id}`, body }),
    problems: 'inline',
  });
  const save = useCommand<DeployConfiguration>({
    modelId: model.id,
    request: (body) => ({
      method: 'PUT',
      path: `/api/models/${model.id}/deployment/configuration`,
      body: { configuration: body, reason: reason.trim() },
      ifMatch: deployment?.version,
    }),
    accepted: 'Kept for later. What is deployed stays as it is.',
    problems: 'inline',
    onAccepted: leave,
  });
  const deploy = useCommand<DeployRequest>({
    modelId: model.id,
    request: (body) => ({
      method: 'PUT',
      path: `/api/models/${model.id}/deployment`,
      body,
      ifMatch: deployment?.version,
    }),
    accepted: deployment ? `Redeploying ${model.name}` : `Deploying ${model.name}`,
    problems: 'inline',
    onAccepted: leave,
  });

  const found = { ...draftProblems(draft, options, engineOptions ?? undefined), ...detailsErrors(wanted) };
  const visible: Problems = {
    ...Object.fromEntries(Object.entries(found).filter(([path]) => checked.has(stepOf(path)) || left.has(path) || chosen(path))),
    ...refused,
  };
  const step = STEPS[active]?.id ?? 'general';
  const current = deployment?.desiredRevision ?? null;
  const overtaken = current !== revision && !deploy.isPending && !deploy.isSuccess;
  const configuration = configurationOf(draft, base);

  const goTo = (index: number) => {
    setActive(index);
    setFurthest((before) => Math.max(before, index));
    window.scrollTo({ top: 0 });
    // Keyboard and screen reader continue at the step's heading.
    requestAnimationFrame(() => heading.current?.focus());
  };
  const showProblems = (...steps: StepId[]) => setChecked((before) => new Set([...before, ...steps]));

  const change = (part: Partial<Draft>) => {
    const next = { ...draft, ...part };
    setDraft(next);
    // What the server said about a value no longer counts once that value is another one.
    setRefused((before) => withoutChanged(before, draft, next));
    deploy.reset();
    save.reset();
    describe.reset();
  };
  const startOver = () => {
    clearDraft(sessionStorage, model.id);
    onStartOver();
  };

  const next = () => {
    showProblems(step);
    if (Object.keys(found).some((path) => stepOf(path) === step)) return;
    goTo(active + 1);
  };

  const complete = () => {
    const first = STEPS.findIndex(({ id }) => Object.keys(found).some((path) => stepOf(path) === id));
    showProblems(...STEPS.map(({ id }) => id));
    if (first !== -1) goTo(first);
    return first === -1;
  };
  const refuse = (problem: ApiProblem) => {
    const problems = Object.fromEntries(problem.errors.map(({ field, message }) => [problemPath(field), message]));
    setRefused(problems);
    const at = STEPS.findIndex(({ id }) => Object.keys(problems).some((path) => stepOf(path) === id));
    if (at !== -1 && at !== active) goTo(at);
  };
  /** The description and tags first: they disturb nothing, whatever becomes of the rest. */
  const withDetails = (go: () => void) => {
    if (!complete()) return;
    setRefused({});
    if (sameDetails(wanted, detailsOf(model))) go();
    else describe.mutate(cleanDetails(wanted), { onSuccess: go, onError: refuse });
  };
  const submit = () => {
    if (!accepted || overtaken) return;
    setLast('deploy');
    withDetails(() =>
      deploy.mutate(
        {
          configuration,
          terms: { version: options.terms.version, accepted: true },
          ...(reason.trim() !== '' && { reason: reason.trim() }),
        },
        { onError: refuse },
      ),
    );
  };
  const keep = () => {
    setLast('keep');
    withDetails(() => save.mutate(configuration, { onError: refuse }));
  };
  const problem = deploy.error ?? save.error ?? describe.error;

  const props: StepProps = {
    draft, onChange: change, onLeave: (path) => setLeft((before) => new Set([...before, path])), problems: visible, options, engineOptions: engineOptions ?? undefined, model,
  };
  const stepHasProblem = (id: StepId) => Object.keys(visible).some((path) => stepOf(path) === id);

  return (
    <div>
      <Stepper
        active={active}
        size="sm"
        iconSize={32}
        onStepClick={(index) => {
          if (index > active) {
            showProblems(step);
            if (Object.keys(found).some((path) => stepOf(path) === step)) return;
          }
          goTo(index);
        }}
        classNames={{ root: classes.stepper, stepBody: classes.stepBody, separator: classes.separator, step: classes.step }}
      >
        {STEPS.map(({ id, title }, index) => (
          <Stepper.Step
            key={id}
            label={title}
            aria-current={index === active ? 'step' : undefined}
            allowStepSelect={index <= furthest}
            {...(stepHasProblem(id) && index !== active && { color: 'red' })}
          />
        ))}
      </Stepper>
      <h2 ref={heading} tabIndex={-1} className={classes.heading}>
        <span className={classes.count}>
          Step {active + 1} of {STEPS.length}
        </span>
        {STEPS[active]?.title}
      </h2>

      {restored && (
        <Alert mb="lg" withCloseButton closeButtonLabel="Close" onClose={() => setRestored(false)} title="Your draft is still here">
          What you typed before is filled in again.{' '}
          <Button variant="subtle" size="compact-sm" onClick={startOver}>
            Start over
          </Button>
        </Alert>
      )}
      {overtaken && (
        <Alert color="yellow" role="alert" mb="lg" title={`Revision ${current ?? ''} was asked for meanwhile`}>
          Somebody else has deployed the model while this page was open. Your values were made from{' '}
          {revision === null ? 'the defaults' : `revision ${revision}`}.
          <Group gap="sm" mt="sm">
            <Button variant="default" size="xs" onClick={startOver}>
              Start over from revision {current}
            </Button>
            <Button variant="subtle" size="xs" onClick={() => setRevision(current)}>
              Go on with my values
            </Button>
          </Group>
        </Alert>
      )}
      {problem && fieldsOnly(problem) && (
        <Alert color="red" role="alert" mb="lg" title="The server did not accept this configuration">
          The fields that it names are marked. Change them, then go on to the review again.
        </Alert>
      )}
      {problem && !fieldsOnly(problem) && (
        <ProblemAlert problem={problem} mb="lg" {...(problem.transient && { onRetry: last === 'keep' ? keep : submit })} />
      )}

      {step === 'general' && (
        <GeneralStep
          {...props}
          deployment={deployment}
          details={details}
          onDetails={(part) => setDetails({ ...details, ...part })}
          onReplace={(loaded) => {
            change(draftOf(loaded));
            showProblems(...STEPS.map(({ id }) => id));
          }}
        />
      )}
      {step === 'optimization' && <OptimizationStep {...props} />}
      {step === 'parameters' && <ParametersStep {...props} />}
      {step === 'hardware' && <HardwareStep {...props} />}
      {step === 'review' && (
        <ReviewStep
          {...props}
          configuration={configuration}
          deployment={deployment}
          details={details}
          accepted={accepted}
          onAccept={setAccepted}
          reason={reason}
          onReason={setReason}
          onEdit={(id) => goTo(STEPS.findIndex((other) => other.id === id))}
        />
      )}

      <Group justify="space-between" className={classes.buttons}>
        <Button variant="default" disabled={active === 0} onClick={() => goTo(active - 1)}>
          Back
        </Button>
        {step === 'review' ? (
          <Group gap="sm">
            {deployment && (
              <Button variant="default" loading={save.isPending} onClick={keep}>
                Keep for later
              </Button>
            )}
            <ActionButton
              disabledReason={overtaken ? 'See first what has changed meanwhile.' : accepted ? null : 'Accept the terms first.'}
              loading={deploy.isPending || describe.isPending}
              onClick={submit}
            >
              {deployment ? 'Redeploy' : 'Deploy'}
            </ActionButton>
          </Group>
        ) : (
          <Button onClick={next}>Next</Button>
        )}
      </Group>
    </div>
  );
}

/** What is chosen and not typed: what is wrong with it is shown at once. */
function chosen(path: string): boolean {
  return ['engine', 'optimization.method', 'hardware.server', 'hardware.accelerator'].includes(path);
}

/** True when every complaint is shown at its field, so that it need not be said twice. */
function fieldsOnly({ errors }: ApiProblem): boolean {
  return errors.length > 0 && errors.every(({ field }) => stepOf(problemPath(field)) !== 'review');
}

/** Drops the server's words about values that are no longer what the server saw. */
function withoutChanged(refused: Problems, before: Draft, after: Draft): Problems {
  return Object.fromEntries(
    Object.entries(refused).filter(([path]) => {
      if (path in before.numbers) {
        const key = path as keyof Draft['numbers'];
        return before.numbers[key] === after.numbers[key];
      }
      if (path.startsWith('optimization')) return before.optimization === after.optimization;
      if (path.startsWith('hardware')) return before.hardware === after.hardware;
      if (path.startsWith('engineArguments')) return before.engineArguments === after.engineArguments;
      if (path === 'parameters.stop') return before.stop === after.stop;
      return true;
    }),
  );
}
