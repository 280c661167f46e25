import { Alert, Group } from '@mantine/core';
import { IconAlertTriangle, IconCheck, IconX } from '@tabler/icons-react';
import { useInfiniteQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { ActionButton } from '@/components/action-button';
import { ConsentFields } from '@/components/consent-fields';
import { useModelCommands } from '@/components/model-commands';
import { Panel } from '@/components/panel';
import { ProgressLine } from '@/components/progress-line';
import { RelativeTime } from '@/components/relative-time';
import type { ImportStep, ModelDetail, ModelVersion } from '@/lib/api/types';
import { refusal } from '@/lib/actions';
import { useTelemetry } from '@/lib/live';
import { spellOut } from '@/lib/event-text';
import { risksToAccept } from '@/lib/risks';
import classes from './import-panel.module.css';
import { versionsQuery } from './versions';

const STEP_TITLES: Record<string, string> = {
  upload: 'Upload the file',
  receive: 'Upload the file',
  extract: 'Extract and store the files',
  fetch: 'Fetch and store the files',
  inspect: 'Inspect the image',
  store: 'Store the files',
  validate: 'Check the model',
};

/** What the import of a version says of itself. */
type ImportedVersion = Pick<ModelVersion, 'version' | 'state' | 'importSteps' | 'failure' | 'report'>;

/** The import while it runs, and why it failed if it did; nothing once the model is ready. */
export function ImportPanel({ model }: { model: ModelDetail }) {
  const further = model.latestVersion !== model.modelVersion;
  const versions = useInfiniteQuery({ ...versionsQuery(model.id), enabled: further });
  const version: ImportedVersion | undefined = further
    ? versions.data?.find(({ version }) => version === model.latestVersion)
    : { ...model, version: model.modelVersion };
  if (version?.state === 'importing' || version?.state === 'validating') {
    return <RunningImport model={model} version={version} further={further} />;
  }
  // A further version that failed is told among the versions: the model itself works.
  if (version?.state === 'import_failed' && !further) return <FailedImport model={model} version={version} />;
  return null;
}

interface ImportProps {
  model: ModelDetail;
  version: ImportedVersion;
}

function RunningImport({ model, version, further }: ImportProps & { further: boolean }) {
  const { confirmCancel, cancel } = useModelCommands(model);
  const upload = useTelemetry(model.id, 'upload');
  const work = useTelemetry(model.id, 'import');
  const progress = work ?? upload;

  return (
    <div className={classes.space}>
      <Panel
        title={`${version.state === 'importing' ? 'Importing' : 'Validating'}${further ? ` version ${version.version}` : ''}`}
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
            {version.importSteps.map((step) => (
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

/** Why the import of the latest version failed, and the ways on: mend and retry, or allow what policy blocks. */
export function FailedImport({ model, version }: ImportProps) {
  const { retry } = useModelCommands(model);
  const [reason, setReason] = useState('');
  const { failure, report } = version;
  const risks = risksToAccept(report?.checks ?? []);
  const consent = risks.length > 0 && reason.trim() !== '' ? { risks, reason: reason.trim() } : undefined;
  return (
    <div className={classes.space}>
      <Alert
        color="red"
        icon={<IconAlertTriangle size={20} aria-hidden />}
        title={failure?.reason ?? 'The import failed'}
      >
        <p className={classes.remedy}>{failure?.remedy ?? 'Look at the validation report, then retry the import.'}</p>
        {risks.length > 0 && (
          <div className={classes.consent}>
            <p className={classes.remedy}>Policy blocks this version unless an administrator allows it:</p>
            <ConsentFields risks={risks} reason={reason} onChange={setReason} />
          </div>
        )}
        <Group gap="sm" mt="sm">
          <ActionButton
            size="xs"
            color="red"
            disabledReason={refusal(model.actions, 'retry')}
            loading={retry.isPending}
            onClick={() => retry.mutate(consent)}
          >
            {consent === undefined ? 'Retry import' : 'Accept the risk and retry'}
          </ActionButton>
          {failure && (
            <span className={classes.failedStep}>
              It failed at: {STEP_TITLES[failure.step] ?? spellOut(failure.step)}
            </span>
          )}
        </Group>
      </Alert>
    </div>
  );
}
