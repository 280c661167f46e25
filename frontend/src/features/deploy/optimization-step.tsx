import { Radio, Select } from '@mantine/core';
import { Panel } from '@/components/panel';
import type { EngineOption, OptimizationOption } from '@/lib/api/types';
import { choosing } from './draft';
import classes from './steps.module.css';
import type { StepProps } from './wizard';

const EXPLANATIONS: Record<OptimizationOption['method'], string> = {
  skip: 'Serve the weights as they are. Nothing is lost, and the deployment is ready soonest.',
  ctranslate2: 'Convert to CTranslate2 with smaller weights: faster on CPUs, and less memory.',
  vllm: 'Quantize the weights while vLLM loads them: less memory, at a small cost in quality.',
};

/** Whether the weights are transformed first, and what serves them. What is not available says why. */
export function OptimizationStep({ draft, onChange, problems, options }: StepProps) {
  const choose = (method: OptimizationOption['method']) => {
    const option = options.optimizations.find((candidate) => candidate.method === method);
    // What a method makes is served by one engine; what nothing was done to, by any that can.
    const engine = option?.engine ?? engineFor(method, draft.engine, options.engines);
    onChange(choosing(draft, { optimization: { method, quantization: null }, engine }, options));
  };

  return (
    <div className={classes.stack}>
      <Radio.Group
        label="How the weights are prepared"
        value={draft.optimization.method}
        error={problems['optimization.method']}
        onChange={(method) => choose(method as OptimizationOption['method'])}
      >
        <div className={classes.cards}>
          {options.optimizations.map((option) => (
            <Choice
              key={option.method}
              option={option}
              chosen={draft.optimization.method === option.method}
              quantization={draft.optimization.quantization}
              problem={problems['optimization.quantization']}
              onQuantization={(quantization) => onChange({ optimization: { method: option.method, quantization } })}
            />
          ))}
        </div>
      </Radio.Group>
      <Panel title="Engine" description="What loads the weights and answers requests.">
        <Engines
          engines={options.engines}
          value={draft.engine}
          method={draft.optimization.method}
          optimizations={options.optimizations}
          problem={problems['engine']}
          onChange={(engine) => onChange(choosing(draft, { engine }, options))}
        />
      </Panel>
    </div>
  );
}

function engineFor(method: string, present: string, engines: readonly EngineOption[]): string {
  const can = engines.filter(({ available, methods }) => available && methods.includes(method));
  return can.find(({ name }) => name === present)?.name ?? can[0]?.name ?? present;
}

interface ChoiceProps {
  option: OptimizationOption;
  chosen: boolean;
  quantization: string | null;
  problem: string | undefined;
  onQuantization: (quantization: string | null) => void;
}

function Choice({ option, chosen, quantization, problem, onQuantization }: ChoiceProps) {
  const methods =
    option.methods ?? option.quantizations.map((name) => ({ name, available: true, reason: null }));
  const refused = methods.filter(({ available, reason }) => !available && reason !== null);
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
      {chosen && methods.length > 0 && (
        <div className={classes.inset}>
          <Select
            label="Quantization"
            placeholder="Choose a data type"
            maw={280}
            data={methods.map(({ name, available }) => ({ value: name, label: name, disabled: !available }))}
            value={quantization}
            error={problem}
            onChange={onQuantization}
          />
          {option.note && <p className={classes.message}>{option.note}</p>}
          {refused.length > 0 && (
            <details className={classes.more}>
              <summary>{refused.length === 1 ? 'One is' : `${refused.length} are`} not available here</summary>
              <dl className={classes.refused}>
                {refused.map(({ name, reason }) => (
                  <div key={name}>
                    <dt>{name}</dt>
                    <dd>{reason}</dd>
                  </div>
                ))}
              </dl>
            </details>
          )}
        </div>
      )}
    </div>
  );
}

interface EnginesProps {
  engines: readonly EngineOption[];
  value: string;
  /** The chosen optimization. */
  method: string;
  optimizations: readonly OptimizationOption[];
  problem: string | undefined;
  onChange: (engine: string) => void;
}

function Engines({ engines, value, method, optimizations, problem, onChange }: EnginesProps) {
  return (
    <Radio.Group aria-label="Engine" value={value} error={problem} onChange={onChange}>
      <div className={classes.options}>
        {engines.map((engine) => {
          const reason = engine.available
            ? unfit(engine, method, optimizations)
            : [engine.reason, engine.remedy].filter(Boolean).join(' ');
          return (
            <Radio
              key={engine.name}
              value={engine.name}
              label={engine.label}
              disabled={reason !== null}
              {...(reason !== null && { description: reason })}
              classNames={{ body: classes.radioBody, label: classes.radioLabel, description: classes.radioDescription }}
            />
          );
        })}
      </div>
    </Radio.Group>
  );
}

/** Why an engine that is here does not serve what the method leaves; null where it does. */
function unfit({ methods }: EngineOption, method: string, optimizations: readonly OptimizationOption[]): string | null {
  if (methods.includes(method)) return null;
  if (method !== 'skip') return 'It does not serve what the chosen optimization makes.';
  const labels = optimizations.filter((option) => methods.includes(option.method)).map(({ label }) => label);
  return `It serves this model only with the optimization ${labels.join(' or ')}.`;
}
