import { Button, Checkbox, Textarea } from '@mantine/core';
import { ConfigurationList } from '@/components/configuration-list';
import { DifferenceTable } from '@/components/difference-table';
import { Facts } from '@/components/facts';
import { Panel } from '@/components/panel';
import type { DeployConfiguration, Deployment } from '@/lib/api/types';
import { configurationDifferences, type ConfigurationSection } from '@/lib/configuration';
import type { StepId } from './draft';
import { RehearsalPanels } from './rehearsal';
import classes from './steps.module.css';
import type { StepProps, WizardDetails } from './wizard';

interface ReviewStepProps extends StepProps {
  configuration: DeployConfiguration;
  deployment: Deployment | null;
  details: WizardDetails;
  accepted: boolean;
  onAccept: (accepted: boolean) => void;
  reason: string;
  onReason: (reason: string) => void;
  onEdit: (step: StepId) => void;
}

const STEP_OF_SECTION: Record<ConfigurationSection, StepId> = {
  optimization: 'optimization',
  parameters: 'parameters',
  scaling: 'parameters',
  hardware: 'hardware',
  engine: 'optimization',
};

/** Everything once more, what it changes, what it needs and costs, what speaks against it, and the terms. */
export function ReviewStep(props: ReviewStepProps) {
  const { configuration, deployment, details, problems, options, model, accepted, onAccept, reason, onReason, onEdit } = props;
  return (
    <div className={classes.stack}>
      {deployment && <Changes configuration={configuration} deployment={deployment} />}
      <RehearsalPanels modelId={model.id} configuration={configuration} deployment={deployment} />
      {deployment && (
        <Panel title="Reason" description="Kept in the history, so that others understand this revision later.">
          <Textarea
            aria-label="Reason"
            placeholder="For instance: longer answers for the support team"
            autosize
            minRows={2}
            maxLength={500}
            value={reason}
            error={problems['reason']}
            onChange={(event) => onReason(event.currentTarget.value)}
          />
        </Panel>
      )}
      <Panel
        title="Model"
        actions={
          <Button variant="subtle" size="compact-sm" aria-label="Edit description and tags" onClick={() => onEdit('general')}>
            Edit
          </Button>
        }
      >
        <Facts
          columns={3}
          facts={[
            { label: 'Name', value: model.name },
            { label: 'Description', value: details.description.trim() || '—' },
            { label: 'Tags', value: details.labels.join(', ') || '—' },
          ]}
        />
      </Panel>
      <Panel title="Configuration">
        <ConfigurationList
          configuration={configuration}
          action={(section, title) => (
            <Button
              variant="subtle"
              size="compact-sm"
              aria-label={`Edit ${title.toLowerCase()}`}
              onClick={() => onEdit(STEP_OF_SECTION[section])}
            >
              Edit
            </Button>
          )}
        />
      </Panel>
      <Panel title="Terms" description={`Version ${options.terms.version}. Who accepted them, and when, becomes part of the history.`}>
        {/* A region that scrolls must be reachable by keyboard. */}
        {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
        <div className={classes.terms} tabIndex={0} role="region" aria-label="Text of the terms">
          {options.terms.text}
        </div>
        <Checkbox
          mt="md"
          label="I accept all the terms and conditions"
          checked={accepted}
          error={Object.entries(problems).find(([path]) => path.startsWith('terms'))?.[1]}
          onChange={(event) => onAccept(event.currentTarget.checked)}
        />
      </Panel>
    </div>
  );
}

function Changes({ configuration, deployment }: { configuration: DeployConfiguration; deployment: Deployment }) {
  const revision = deployment.desiredRevision ?? '—';
  const differences = configurationDifferences(deployment.configuration, configuration);
  return (
    <Panel title={`Changes from revision ${revision}`}>
      {differences.length === 0 ? (
        <p className={classes.message}>Nothing differs. Redeploying starts fresh engines with the same values.</p>
      ) : (
        <DifferenceTable differences={differences} before={`Revision ${revision}`} after="New revision" />
      )}
    </Panel>
  );
}
