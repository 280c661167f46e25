import { ActionIcon, Button, Fieldset, Group, Modal, NativeSelect, Stack, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { IconPlus, IconTrash } from '@tabler/icons-react';
import { useState } from 'react';
import { ProblemAlert } from '@/components/problem-alert';
import type { ModelSummary, Prices } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';
import { amountProblem, bodyOf, draftOf, hardwareName, type PricesDraft } from './prices';
import classes from './prices-dialog.module.css';

interface PricesDialogProps {
  opened: boolean;
  onClose: () => void;
  /** Reads the prices in force again: they have been set, here or elsewhere. */
  onChanged: () => void;
  prices: Prices;
  models: ModelSummary[];
}

/** Sets every price at once; another administrator's change meanwhile is not overwritten. */
export function PricesDialog({ opened, onClose, prices, ...rest }: PricesDialogProps) {
  const [round, setRound] = useState(0);
  return (
    <Modal opened={opened} onClose={onClose} title="Prices" size={640}>
      <PricesForm key={round} prices={prices} onClose={onClose} onAnew={() => setRound(round + 1)} {...rest} />
    </Modal>
  );
}

interface PricesFormProps extends Omit<PricesDialogProps, 'opened'> {
  /** Begins again with the prices in force. */
  onAnew: () => void;
}

function PricesForm({ prices, models, onClose, onChanged, onAnew }: PricesFormProps) {
  // What the person sees and changes, whatever comes meanwhile.
  const [begun] = useState(prices);
  const form = useForm<PricesDraft>({
    initialValues: draftOf(begun),
    validate: {
      currency: (text) => (/^[A-Za-z]{3}$/.test(text.trim()) ? null : 'Give a code of three letters, such as EUR.'),
      hardware: {
        kind: (kind) => (kind.trim() === '' ? 'Name the GPU.' : null),
        perHour: amountProblem,
      },
      tokens: { perMillionInput: amountProblem, perMillionOutput: amountProblem },
    },
  });
  const save = useCommand<PricesDraft>({
    request: (draft) => ({ method: 'PUT', path: '/api/prices', body: bodyOf(draft), ifMatch: begun.version }),
    accepted: 'The prices are set',
    problems: 'inline',
    onAccepted: () => {
      onChanged();
      onClose();
    },
  });
  const { hardware, tokens } = form.values;

  return (
    <form onSubmit={form.onSubmit((draft) => save.mutate(draft, { onError: onChanged }))} noValidate autoComplete="off">
      <Stack>
        <TextInput label="Currency" maxLength={3} w={110} data-autofocus {...form.getInputProps('currency')} />
        <Fieldset legend="Hardware, for an hour">
          <Stack gap="xs">
            {hardware.map(({ kind, named }, place) => (
              <div key={place} className={classes.line}>
                {!named ? (
                  <span className={classes.kind}>{hardwareName(kind)}</span>
                ) : (
                  <TextInput
                    aria-label={`Name of GPU ${place + 1}`}
                    placeholder="NVIDIA H200"
                    {...form.getInputProps(`hardware.${place}.kind`)}
                  />
                )}
                <TextInput
                  aria-label={`Price of ${hardwareName(kind) || `GPU ${place + 1}`} for an hour`}
                  placeholder="not set"
                  inputMode="decimal"
                  {...form.getInputProps(`hardware.${place}.perHour`)}
                />
                <Remove label={`Remove ${hardwareName(kind) || `GPU ${place + 1}`}`} onClick={() => form.removeListItem('hardware', place)} />
              </div>
            ))}
            <Group gap="xs">
              {['cpu', 'gpu']
                .filter((kind) => !hardware.some((line) => line.kind === kind))
                .map((kind) => (
                  <Add key={kind} label={hardwareName(kind)} onClick={() => form.insertListItem('hardware', { kind, named: false, perHour: '' })} />
                ))}
              <Add label="One kind of GPU" onClick={() => form.insertListItem('hardware', { kind: '', named: true, perHour: '' })} />
            </Group>
          </Stack>
        </Fieldset>
        <Fieldset legend="Tokens, for a million">
          <Stack gap="xs">
            {tokens.map(({ model }, place) => (
              <div key={place} className={classes.tokens}>
                <NativeSelect
                  aria-label={`Model of price ${place + 1}`}
                  data={[
                    { value: '', label: 'Any other model' },
                    ...(model !== '' && !models.some(({ id }) => id === model) ? [{ value: model, label: model }] : []),
                    ...models.map(({ id, name }) => ({ value: id, label: name })),
                  ]}
                  {...form.getInputProps(`tokens.${place}.model`)}
                />
                <TextInput
                  aria-label={`Price ${place + 1}, tokens in`}
                  placeholder="in"
                  inputMode="decimal"
                  {...form.getInputProps(`tokens.${place}.perMillionInput`)}
                />
                <TextInput
                  aria-label={`Price ${place + 1}, tokens out`}
                  placeholder="out"
                  inputMode="decimal"
                  {...form.getInputProps(`tokens.${place}.perMillionOutput`)}
                />
                <Remove label={`Remove price ${place + 1}`} onClick={() => form.removeListItem('tokens', place)} />
              </div>
            ))}
            <Group>
              <Add
                label="Price for a model"
                onClick={() => form.insertListItem('tokens', { model: '', perMillionInput: '', perMillionOutput: '' })}
              />
            </Group>
          </Stack>
        </Fieldset>
        <ProblemAlert problem={save.error} />
        {save.error && prices.version !== begun.version && (
          <Button variant="default" onClick={onAnew}>
            Begin again with the prices that were set meanwhile
          </Button>
        )}
        <Group justify="flex-end" gap="sm">
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" loading={save.isPending}>
            Set prices
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

interface ActProps {
  label: string;
  onClick: () => void;
}

function Add({ label, onClick }: ActProps) {
  return (
    <Button variant="subtle" size="compact-sm" leftSection={<IconPlus size={15} aria-hidden />} onClick={onClick}>
      {label}
    </Button>
  );
}

function Remove({ label, onClick }: ActProps) {
  return (
    <ActionIcon variant="subtle" color="red" size="lg" aria-label={label} onClick={onClick}>
      <IconTrash size={17} aria-hidden />
    </ActionIcon>
  );
}
