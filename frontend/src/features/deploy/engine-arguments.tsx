import { ActionIcon, Autocomplete, Button, TextInput, Tooltip } from '@mantine/core';
import { IconPlus, IconTrash } from '@tabler/icons-react';
import { Panel } from '@/components/panel';
import { newId } from '@/lib/new-id';
import { argumentPath, type EngineArgument } from './draft';
import classes from './engine-arguments.module.css';
import type { StepProps } from './wizard';

/** What the vLLM arguments that are asked for most often do. Any other may be typed as well. */
const KNOWN: Record<string, string> = {
  max_model_len: 'The longest prompt and answer together, in tokens. Less needs less memory.',
  dtype: 'The data type of the weights: auto, float32, bfloat16 or float16.',
  enforce_eager: 'true skips graph compilation: a quicker start, slower answers.',
  gpu_memory_utilization: 'The share of GPU memory that the engine may use, from 0 to 1.',
  max_num_batched_tokens: 'The most tokens in one engine step.',
  enable_prefix_caching: 'true keeps the cache of prompts that begin alike.',
  block_size: 'Tokens in one block of the cache.',
  swap_space: 'GiB of memory for requests that must wait.',
  seed: 'Makes sampling repeatable.',
  kv_cache_dtype: 'The data type of the cache: auto or fp8.',
};

/** The engine's own options, by name. */
export function EngineArguments({ draft, onChange, problems }: StepProps) {
  const change = (id: string, part: Partial<EngineArgument>) =>
    onChange({
      engineArguments: draft.engineArguments.map((argument) => (argument.id === id ? { ...argument, ...part } : argument)),
    });

  return (
    <Panel
      title="Engine arguments"
      description="Options of vLLM itself, by name without dashes. Leave them out unless you know that you need one."
    >
      <div className={classes.rows}>
        {draft.engineArguments.map((argument, index) => (
          <div key={argument.id} className={classes.row}>
            <Autocomplete
              label={index === 0 ? 'Name' : undefined}
              aria-label={`Name of engine argument ${index + 1}`}
              placeholder="max_model_len"
              data={Object.keys(KNOWN)}
              value={argument.name}
              error={problems[argumentPath(argument)]}
              description={KNOWN[argument.name.trim()]}
              inputWrapperOrder={['label', 'input', 'description', 'error']}
              onChange={(name) => change(argument.id, { name })}
            />
            <TextInput
              label={index === 0 ? 'Value' : undefined}
              aria-label={`Value of engine argument ${index + 1}`}
              value={argument.value}
              onChange={(event) => change(argument.id, { value: event.currentTarget.value })}
            />
            <Tooltip label="Remove argument">
              <ActionIcon
                className={classes.remove}
                data-first={index === 0}
                variant="subtle"
                color="gray"
                size={36}
                aria-label={`Remove engine argument ${argument.name || index + 1}`}
                onClick={() => onChange({ engineArguments: draft.engineArguments.filter(({ id }) => id !== argument.id) })}
              >
                <IconTrash size={16} aria-hidden />
              </ActionIcon>
            </Tooltip>
          </div>
        ))}
        <Button
          variant="default"
          size="xs"
          leftSection={<IconPlus size={15} aria-hidden />}
          onClick={() => onChange({ engineArguments: [...draft.engineArguments, { id: newId(), name: '', value: '' }] })}
        >
          Add an argument
        </Button>
      </div>
    </Panel>
  );
}
