import { ActionIcon, Autocomplete, Button, Tooltip } from '@mantine/core';
import { IconPlus, IconTrash } from '@tabler/icons-react';
import { Panel } from '@/components/panel';
import type { EngineOptions } from '@/lib/api/types';
import { newId } from '@/lib/new-id';
import { argumentPath, type EngineArgument } from './draft';
import classes from './engine-arguments.module.css';
import type { StepProps } from './wizard';

/** The engine's own options, by name. */
export function EngineArguments({ draft, onChange, onLeave, problems, options, engineOptions }: StepProps) {
  const engine = options.engines.find(({ name }) => name === draft.engine)?.label ?? draft.engine;
  const known = new Map(engineOptions?.options.map((option) => [option.name, option]));
  const change = (id: string, part: Partial<EngineArgument>) =>
    onChange({
      engineArguments: draft.engineArguments.map((argument) => (argument.id === id ? { ...argument, ...part } : argument)),
    });

  return (
    <Panel
      title="Engine arguments"
      description={`Options of ${engine} itself, by name without dashes. Leave them out unless you know that you need one. ${
        engineOptions?.known
          ? `They are checked against the ${known.size} options of ${engine} ${engineOptions.version ?? ''}.`
          : 'They are checked when the engine is installed on the server.'
      }`}
    >
      <div className={classes.rows}>
        {draft.engineArguments.map((argument, index) => (
          <div key={argument.id} className={classes.row}>
            <Autocomplete
              label={index === 0 ? 'Name' : undefined}
              aria-label={`Name of engine argument ${index + 1}`}
              placeholder="max_model_len"
              data={[...known.keys()]}
              limit={100}
              value={argument.name}
              error={problems[argumentPath(argument)]}
              description={known.get(argument.name.trim())?.help}
              inputWrapperOrder={['label', 'input', 'description', 'error']}
              onBlur={() => onLeave(argumentPath(argument))}
              onChange={(name) => change(argument.id, { name })}
            />
            <Autocomplete
              label={index === 0 ? 'Value' : undefined}
              aria-label={`Value of engine argument ${index + 1}`}
              data={valuesOf(known.get(argument.name.trim()))}
              value={argument.value}
              onBlur={() => onLeave(argumentPath(argument))}
              onChange={(value) => change(argument.id, { value })}
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

function valuesOf(option: EngineOptions['options'][number] | undefined): string[] {
  if (option === undefined || option.many) return [];
  return option.kind === 'switch' ? ['true', 'false'] : option.choices;
}
