import { Button, FileButton } from '@mantine/core';
import { IconUpload } from '@tabler/icons-react';
import { useState } from 'react';
import { Facts } from '@/components/facts';
import { Panel } from '@/components/panel';
import type { Deployment, DeployConfiguration } from '@/lib/api/types';
import { readDeployConfigFile } from '@/lib/configuration';
import { formatBytes, formatCount, formatNumber } from '@/lib/format';
import { DetailsFields } from './details-fields';
import classes from './steps.module.css';
import type { StepProps, WizardDetails } from './wizard';

interface GeneralStepProps extends StepProps {
  deployment: Deployment | null;
  details: WizardDetails;
  onDetails: (part: Partial<WizardDetails>) => void;
  onReplace: (configuration: DeployConfiguration) => void;
}

const MAX_FILE_BYTES = 1_000_000;

/** What is deployed, and the values to start from. */
export function GeneralStep({ model, deployment, details, onDetails, problems, options, onReplace }: GeneralStepProps) {
  const { card } = model;
  return (
    <div className={classes.stack}>
      <Panel title="Model">
        <Facts
          columns={3}
          facts={[
            { label: 'Name', value: model.name },
            { label: 'Version', value: model.modelVersion },
            { label: 'Architecture', value: model.architecture ?? '—' },
            { label: 'Parameters', value: model.parameterCount === null ? '—' : formatCount(model.parameterCount) },
            { label: 'Size', value: model.sizeBytes === null ? '—' : formatBytes(model.sizeBytes) },
            { label: 'Context length', value: card?.contextLength == null ? '—' : `${formatNumber(card.contextLength)} tokens` },
            { label: 'Served under the name', value: deployment?.endpoint?.model ?? model.name },
            { label: 'Revision to be made', value: String((deployment?.desiredRevision ?? 0) + 1) },
          ]}
        />
      </Panel>
      <Panel title="Description and tags" description="Saved with the model when you deploy. They change nothing about how it is served.">
        <DetailsFields details={details} problems={problems} onChange={onDetails} />
      </Panel>
      <StartFrom
        deployment={deployment}
        options={options}
        imported={card?.deployConfiguration != null}
        onReplace={onReplace}
      />
    </div>
  );
}

interface StartFromProps extends Pick<GeneralStepProps, 'deployment' | 'options' | 'onReplace'> {
  /** Whether the model brought a configuration of its own. */
  imported: boolean;
}

function StartFrom({ deployment, options, imported, onReplace }: StartFromProps) {
  const [message, setMessage] = useState<{ text: string; bad: boolean } | null>(null);

  const load = async (file: File | null) => {
    if (file === null) return;
    try {
      if (file.size > MAX_FILE_BYTES) throw new Error('The file is too large for a deploy configuration.');
      const { configuration, unknown } = readDeployConfigFile(await file.text(), options.defaults);
      onReplace(configuration);
      setMessage(
        unknown.length === 0
          ? { text: `All values come from ${file.name} now.`, bad: false }
          : { text: `All values come from ${file.name} now, except for fields that are unknown here: ${unknown.join(', ')}.`, bad: true },
      );
    } catch (error) {
      setMessage({ text: error instanceof Error ? error.message : 'The file cannot be read. Choose another one.', bad: true });
    }
  };

  return (
    <Panel
      title="Values to start from"
      description={
        deployment
          ? deployment.pending === null
            ? `The wizard is filled with the configuration of revision ${deployment.desiredRevision ?? ''}.`
            : 'The wizard is filled with the pending changes.'
          : imported
            ? 'The wizard is filled from the deployconfig.json that came with the model. The validation report names what was not used of it.'
            : 'The wizard is filled with defaults that suit this model.'
      }
    >
      <div className={classes.row}>
        <FileButton onChange={(file) => void load(file)} accept="application/json,.json">
          {(props) => (
            <Button {...props} variant="default" leftSection={<IconUpload size={16} aria-hidden />}>
              Load a deployconfig.json
            </Button>
          )}
        </FileButton>
        {deployment?.pending && (
          <Button
            variant="subtle"
            onClick={() => {
              onReplace(deployment.configuration);
              setMessage({ text: `All values are those of revision ${deployment.desiredRevision ?? ''} now.`, bad: false });
            }}
          >
            Use what is deployed
          </Button>
        )}
        {deployment && (
          <Button
            variant="subtle"
            onClick={() => {
              onReplace(options.defaults);
              setMessage({ text: 'All values are the defaults now.', bad: false });
            }}
          >
            Use the defaults
          </Button>
        )}
        <span className={classes.message} data-bad={message?.bad ?? false} role="status">
          {message?.text}
        </span>
      </div>
    </Panel>
  );
}
