import { Button, Drawer, NumberInput, TagsInput, Textarea } from '@mantine/core';
import type { DeployConfiguration } from '@/lib/api/types';
import { MAX_STOP_SEQUENCES, NUMBER_FIELDS, type NumberPath } from '@/lib/configuration';
import { NO_SAMPLING, type Sampling } from './conversation';
import classes from './sampling-drawer.module.css';

interface SamplingDrawerProps {
  opened: boolean;
  onClose: () => void;
  sampling: Sampling;
  onChange: (sampling: Sampling) => void;
  defaults: DeployConfiguration['parameters'] | null;
  chat: boolean;
}

const FIELDS: { key: 'temperature' | 'maxTokens' | 'topP'; path: NumberPath }[] = [
  { key: 'temperature', path: 'parameters.temperature' },
  { key: 'maxTokens', path: 'parameters.maxTokens' },
  { key: 'topP', path: 'parameters.topP' },
];

/** Parameters of this conversation; what is left empty is the deployment's default. */
export function SamplingDrawer({ opened, onClose, sampling, onChange, defaults, chat }: SamplingDrawerProps) {
  return (
    <Drawer
      opened={opened}
      onClose={onClose}
      position="right"
      title="Parameters"
      padding="lg"
      closeButtonProps={{ 'aria-label': 'Close' }}
    >
      <div className={classes.fields}>
        <p className={classes.note}>For this conversation only. What you leave empty is the deployment&apos;s default.</p>
        {chat && (
          <Textarea
            label="System message"
            description="Tells the model how to behave."
            autosize
            minRows={2}
            maxRows={8}
            value={sampling.system}
            onChange={(event) => onChange({ ...sampling, system: event.currentTarget.value })}
          />
        )}
        {FIELDS.map(({ key, path }) => {
          const { label, explanation, min, max, step, integer } = NUMBER_FIELDS[path];
          return (
            <NumberInput
              key={key}
              label={label}
              description={explanation}
              {...(defaults && { placeholder: `Default: ${defaults[key]}` })}
              min={min}
              max={max}
              step={step}
              allowDecimal={!integer}
              clampBehavior="blur"
              value={sampling[key]}
              onChange={(value) => onChange({ ...sampling, [key]: typeof value === 'number' ? value : '' })}
            />
          );
        })}
        <TagsInput
          label="Stop sequences"
          description="Type one and press Enter."
          {...(defaults && defaults.stop.length > 0 && { placeholder: `Default: ${defaults.stop.join(' ')}` })}
          maxTags={MAX_STOP_SEQUENCES}
          splitChars={[]}
          acceptValueOnBlur
          value={sampling.stop}
          onChange={(stop) => onChange({ ...sampling, stop })}
        />
        <Button variant="default" onClick={() => onChange(NO_SAMPLING)}>
          Use the defaults
        </Button>
      </div>
    </Drawer>
  );
}
