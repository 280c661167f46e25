import { Radio, Select } from '@mantine/core';
import type { OptimizationOption } from '@/lib/api/types';
import classes from './steps.module.css';
import type { StepProps } from './wizard';

const EXPLANATIONS: Record<OptimizationOption['method'], string> = {
  skip: 'Serve the weights as they are. Nothing is lost, and the deployment is ready soonest.',
  ctranslate2: 'Convert to CTranslate2 with smaller weights: faster on CPUs, and less memory.',
  vllm: 'Quantize the weights for vLLM: less GPU memory, at a small cost in quality.',
};

/** Whether the weights are transformed first. What is not available says why. */
export function OptimizationStep({ draft, onChange, problems, options }: StepProps) {
  return (
    <Radio.Group
      label="How the weights are prepared"
      value={draft.optimization.method}
      error={problems['optimization.method'] ?? problems['optimization.quantization']}
      onChange={(method) =>
        onChange({ optimization: { method: method as OptimizationOption['method'], quantization: null } })
      }
    >
      <div className={classes.cards}>
        {options.optimizations.map((option) => (
          <Choice
            key={option.method}
            option={option}
            chosen={draft.optimization.method === option.method}
            quantization={draft.optimization.quantization}
            onQuantization={(quantization) => onChange({ optimization: { method: option.method, quantization } })}
          />
        ))}
      </div>
    </Radio.Group>
  );
}

interface ChoiceProps {
  option: OptimizationOption;
  chosen: boolean;
  quantization: string | null;
  onQuantization: (quantization: string | null) => void;
}

function Choice({ option, chosen, quantization, onQuantization }: ChoiceProps) {
  return (
    <div className={classes.card} data-chosen={chosen} data-disabled={!option.available}>
      <Radio
        value={option.method}
        disabled={!option.available}
        label={option.label}
        description={EXPLANATIONS[option.method]}
        classNames={{ body: classes.radioBody, label: classes.radioLabel, description: classes.radioDescription }}
      />
      {!option.available && <p className={classes.reason}>{option.reason ?? 'This is not available on this installation.'}</p>}
      {chosen && option.quantizations.length > 0 && (
        <Select
          className={classes.inset}
          label="Quantization"
          placeholder="Choose a data type"
          clearable
          maw={280}
          data={option.quantizations}
          value={quantization}
          onChange={onQuantization}
        />
      )}
    </div>
  );
}
