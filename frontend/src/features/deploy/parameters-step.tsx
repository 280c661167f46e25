import { TagsInput } from '@mantine/core';
import { Panel } from '@/components/panel';
import { MAX_STOP_SEQUENCES, type NumberPath } from '@/lib/configuration';
import { formatNumber } from '@/lib/format';
import { EngineArguments } from './engine-arguments';
import { NumberField } from './number-field';
import classes from './steps.module.css';
import type { StepProps } from './wizard';

const SAMPLING: NumberPath[] = ['parameters.temperature', 'parameters.maxTokens', 'parameters.topP', 'parameters.topK'];
const SCALING: NumberPath[] = [
  'scaling.minReplicas',
  'scaling.maxReplicas',
  'scaling.scaleUpDelaySeconds',
  'scaling.scaleDownDelaySeconds',
];

/** How the model answers and how many replicas answer. */
export function ParametersStep(props: StepProps) {
  const { draft, onChange, onLeave, problems, model } = props;
  const context = model.card?.contextLength ?? null;
  const length = draft.numbers['parameters.maxTokens'];
  const tooLong = context !== null && length !== '' && length > context;

  return (
    <div className={classes.stack}>
      <Panel title="Answers" description="Defaults of the endpoint: a request may ask for something else.">
        <div className={classes.fields}>
          {SAMPLING.map((path) => (
            <NumberField key={path} {...props} path={path} />
          ))}
          <TagsInput
            className={classes.wide}
            label="Stop sequences"
            description={`Generation ends where one of these appears. Up to ${MAX_STOP_SEQUENCES}; type one and press Enter.`}
            inputWrapperOrder={['label', 'input', 'description', 'error']}
            maxTags={MAX_STOP_SEQUENCES}
            splitChars={[]}
            acceptValueOnBlur
            value={draft.stop}
            error={problems['parameters.stop']}
            onBlur={() => onLeave('parameters.stop')}
            onChange={(stop) => onChange({ stop })}
          />
        </div>
        {tooLong && (
          <p className={classes.warning} role="status">
            The maximum length is beyond the model&apos;s context of {formatNumber(context)} tokens: answers end there.
          </p>
        )}
      </Panel>
      <Panel title="Load" description="How many requests are worked on at a time.">
        <div className={classes.fields}>
          <NumberField {...props} path="parameters.batchSize" />
          <span />
          {SCALING.map((path) => (
            <NumberField key={path} {...props} path={path} />
          ))}
        </div>
      </Panel>
      <EngineArguments {...props} />
    </div>
  );
}
