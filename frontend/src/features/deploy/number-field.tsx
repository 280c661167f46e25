import { NumberInput } from '@mantine/core';
import { limitsText, NUMBER_FIELDS, type NumberPath } from '@/lib/configuration';
import type { StepProps } from './wizard';

type NumberFieldProps = Pick<StepProps, 'draft' | 'onChange' | 'onLeave' | 'problems'> & { path: NumberPath; max?: number };

const FEW_DECIMALS = 4;

/** One number of the configuration with its meaning and its limits. */
export function NumberField({ draft, onChange, onLeave, problems, path, max }: NumberFieldProps) {
  const { label, explanation, min, step, integer, unit, ...field } = NUMBER_FIELDS[path];
  return (
    <NumberInput
      label={label}
      description={`${explanation} ${limitsText(path)}`}
      inputWrapperOrder={['label', 'input', 'description', 'error']}
      min={min}
      max={max ?? field.max}
      step={step}
      // Out-of-range values stay visible with the limit beside them, instead of being replaced silently.
      clampBehavior="none"
      allowDecimal={!integer}
      decimalScale={FEW_DECIMALS}
      thousandSeparator=","
      {...(unit !== undefined && { suffix: ` ${unit}` })}
      value={draft.numbers[path]}
      error={problems[path]}
      onBlur={() => onLeave(path)}
      onChange={(value) => onChange({ numbers: { ...draft.numbers, [path]: typeof value === 'number' ? value : '' } })}
    />
  );
}
