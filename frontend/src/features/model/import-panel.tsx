import { Alert, Group } from '@mantine/core';
import { IconAlertTriangle, IconCheck, IconX } from '@tabler/icons-react';
import { ActionButton } from '@/components/action-button';
import { useModelCommands } from '@/components/model-commands';
import { Panel } from '@/components/panel';
import { ProgressLine } from '@/components/progress-line';
import { RelativeTime } from '@/components/relative-time';
import type { ImportStep, ModelDetail } from '@/lib/api/types';
import { refusal } from '@/lib/actions';
import { useTelemetry } from '@/lib/live';
import { spellOut } from '@/lib/event-text';
import classes from './import-panel.module.css';

const STEP_TITLES: Record<string, string> = {
  upload: 'Upload the archive',
  receive: 'Upload the archive',
  extract: 'Extract and store the files',
  store: 'Store the files',
  validate: 'Check the model',
};

/** The import while it runs, and why it failed if it did; nothing once the model is ready. */
export function ImportPanel({ model }: { model: ModelDetail }) {
  if (model.state === 'importing' || model.state === 'validating') return <RunningImport model={model} />;
  if (model.state === 'import_failed') return <FailedImport model={model} />;
  return null;
}

function RunningImport({ model }: { model: ModelDetail }) {
  const { confirmCancel, cancel } = useModelCommands(model);
  const upload = useTelemetry(model.id, 'upload');
  const work = useTelemetry(model.id, 'import');
  const progress = work ?? upload;

  return (
    <div className={classes.space}>
      <Panel
        title={model.state === 'importing' ? 'Importing' : 'Validating'}
        description={progress?.message ?? 'You can leave this page: the import goes on, and the result waits here.'}
        actions={
          <ActionButton
            variant="default"
            size="xs"
            disabledReason={refusal(model.actions, 'cancel')}
            loading={cancel.isPending}
            onClick={confirmCancel}
          >
            Cancel import
          </ActionButton>
        }
      >
        <div className={classes.columns}>
          <ol className={classes.steps}>
            {model.importSteps.map((step) => (
              <Step key={step.step} step={step} />
            ))}
          </ol>
          {/* Keeps its height before the first measurement, so that nothing jumps. */}
          <div className={classes.progress}>
            {progress ? (
              <ProgressLine progress={progress} label={`Progress of the import of ${model.name}`} />
            ) : (
              <ProgressLine
                progress={{ done: 0, total: 100, unit: 'percent', rate: null, remaining: null }}
                label={`Progress of the import of ${model.name}`}
                paused
              />
            )}
          </div>
        </div>
      </Panel>
    </div>
  );
}

function Step({ step }: { step: ImportStep }) {
  return (
    <li className={classes.step} data-state={step.state} aria-current={step.state === 'running' ? 'step' : undefined}>
      <span className={classes.mark} aria-hidden>
        {step.state === 'done' && <IconCheck size={13} stroke={3} />}
        {step.state === 'failed' && <IconX size={13} stroke={3} />}
      </span>
      <span>
        {STEP_TITLES[step.step] ?? spellOut(step.step)}
        <span className={classes.when}>
          {step.state === 'done' && step.at !== null && (
            <>
              Done <RelativeTime time={step.at} />
            </>
          )}
          {step.state === 'running' && 'In progress'}
          {step.state === 'pending' && 'Waiting'}
          {step.state === 'failed' && 'Failed'}
        </span>
      </span>
    </li>
  );
}

function FailedImport({ model }: { model: ModelDetail }) {
  const { retry } = useModelCommands(model);
  return (
    <div className={classes.space}>
      <Alert
        color="red"
        icon={<IconAlertTriangle size={20} aria-hidden />}
        title={model.failure?.reason ?? 'The import failed'}
      >
        <p className={classes.remedy}>{model.failure?.remedy ?? 'Look at the validation report, then retry the import.'}</p>
        <Group gap="sm" mt="sm">
          <ActionButton
            size="xs"
            color="red"
            disabledReason={refusal(model.actions, 'retry')}
            loading={retry.isPending}
            onClick={() => retry.mutate()}
          >
            Retry import
          </ActionButton>
          {model.failure && (
            <span className={classes.failedStep}>
              It failed at: {STEP_TITLES[model.failure.step] ?? spellOut(model.failure.step)}
            </span>
          )}
        </Group>
      </Alert>
    </div>
  );
}
