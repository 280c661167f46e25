import { NumberInput } from '@mantine/core';
import classes from './form.module.css';

/** Memory in GiB; empty where nothing is asked for. */
export interface ResourceDraft {
  cpu: number | '';
  memoryGib: number | '';
  gpu: number | '';
  gpuMemoryGib: number | '';
}

export const NO_RESOURCES: ResourceDraft = { cpu: '', memoryGib: '', gpu: '', gpuMemoryGib: '' };

const FIELDS: { name: keyof ResourceDraft; label: string; unit: string; whole: boolean }[] = [
  { name: 'cpu', label: 'CPU', unit: ' cores', whole: false },
  { name: 'memoryGib', label: 'Memory', unit: ' GiB', whole: false },
  { name: 'gpu', label: 'GPUs', unit: '', whole: true },
  { name: 'gpuMemoryGib', label: 'GPU memory', unit: ' GiB', whole: false },
];

interface ResourceFieldsProps {
  legend: string;
  value: ResourceDraft;
  onChange: (value: ResourceDraft) => void;
}

/** CPU, memory and accelerators. */
export function ResourceFields({ legend, value, onChange }: ResourceFieldsProps) {
  return (
    <fieldset className={classes.group}>
      <legend className={classes.legend}>{legend}</legend>
      <div className={classes.quad}>
        {FIELDS.map(({ name, label, unit, whole }) => (
          <NumberInput
            key={name}
            label={label}
            placeholder="Any"
            suffix={unit}
            min={0}
            max={99_999}
            allowNegative={false}
            allowDecimal={!whole}
            hideControls
            value={value[name]}
            onChange={(number) => onChange({ ...value, [name]: typeof number === 'number' ? number : '' })}
          />
        ))}
      </div>
    </fieldset>
  );
}

/** As the API wants it: nothing asked for is 0. */
export function resourcesBody(draft: ResourceDraft): Record<keyof ResourceDraft, number> {
  return { cpu: draft.cpu || 0, memoryGib: draft.memoryGib || 0, gpu: draft.gpu || 0, gpuMemoryGib: draft.gpuMemoryGib || 0 };
}
