import { Radio } from '@mantine/core';
import { Panel } from '@/components/panel';
import type { DeployServer } from '@/lib/api/types';
import { formatNumber } from '@/lib/format';
import { choosing, unfitness, type Draft } from './draft';
import { NumberField } from './number-field';
import classes from './steps.module.css';
import type { StepProps } from './wizard';

type Hardware = Draft['hardware'];

const ACCELERATORS: { value: Hardware['accelerator']; label: string }[] = [
  { value: 'gpu', label: 'GPUs' },
  { value: 'cpu', label: 'Processors only' },
];
const SHARING: { value: string; label: string; description: string }[] = [
  { value: 'exclusive', label: 'To itself', description: 'No other replica gets any of these GPUs.' },
  { value: 'memory', label: 'Shared by memory', description: 'A replica takes its part of the memory; others may take the rest.' },
];
const radio = { body: classes.radioBody, label: classes.radioLabel, description: classes.radioDescription };

/** Where the replicas run. A server on which the model cannot run says why. */
export function HardwareStep(props: StepProps) {
  const { draft, onChange, problems, options } = props;
  const chosen = options.servers.find(({ name }) => name === draft.hardware.server);
  const onGpus = draft.hardware.accelerator === 'gpu';

  const set = (hardware: Hardware) => {
    const count = hardware.accelerator === 'gpu' ? Math.max(1, draft.numbers['hardware.acceleratorCount'] || 1) : 0;
    onChange(choosing(draft, { hardware, numbers: { ...draft.numbers, 'hardware.acceleratorCount': count } }, options));
  };
  const choose = (name: string) => {
    const server = options.servers.find((candidate) => candidate.name === name);
    if (server) set({ ...draft.hardware, server: server.name, accelerator: server.accelerator });
  };

  return (
    <div className={classes.stack}>
      <Radio.Group label="Server" value={draft.hardware.server} error={problems['hardware.server']} onChange={choose}>
        <div className={classes.cards}>
          {options.servers.map((server) => {
            const unfit = unfitness(server, draft.engine, options.engines);
            return (
              <div key={server.name} className={classes.card} data-chosen={server.name === draft.hardware.server} data-disabled={unfit !== null}>
                <Radio value={server.name} disabled={unfit !== null} label={server.name} description={capacity(server)} classNames={radio} />
                {unfit === null ? server.busy && <p className={classes.message}>{server.busy}</p> : <p className={classes.reason}>{unfit}</p>}
              </div>
            );
          })}
          {options.servers.length === 0 && (
            <p className={classes.message}>No server is known. Check that the deploy worker runs: it announces its machine.</p>
          )}
        </div>
      </Radio.Group>
      <Panel title="For each replica">
        <div className={classes.fields}>
          {chosen && (chosen.accelerators.length > 1 || !chosen.accelerators.includes(draft.hardware.accelerator)) && (
            <Radio.Group
              className={classes.wide}
              label="Runs on"
              value={draft.hardware.accelerator}
              error={problems['hardware.accelerator']}
              onChange={(accelerator) => set({ ...draft.hardware, accelerator: accelerator as Hardware['accelerator'] })}
            >
              <div className={classes.options}>
                {ACCELERATORS.map(({ value, label }) => (
                  <Radio key={value} value={value} label={label} disabled={!chosen.accelerators.includes(value)} classNames={radio} />
                ))}
              </div>
            </Radio.Group>
          )}
          {onGpus && <NumberField {...props} path="hardware.acceleratorCount" {...(chosen && chosen.gpus.length > 0 && { max: chosen.gpus.length })} />}
          <NumberField {...props} path="hardware.memoryGib" />
          {onGpus && chosen?.name === 'local' && (
            <Radio.Group
              className={classes.wide}
              label="GPUs"
              value={draft.hardware.gpuSharing}
              onChange={(gpuSharing) => set({ ...draft.hardware, gpuSharing })}
            >
              <div className={classes.options}>
                {SHARING.map(({ value, label, description }) => (
                  <Radio key={value} value={value} label={label} description={description} classNames={radio} />
                ))}
              </div>
            </Radio.Group>
          )}
        </div>
      </Panel>
    </div>
  );
}

function capacity({ cpuCount, memoryGib, gpus, accelerators, servers }: DeployServer): string {
  const [first] = gpus;
  const each = first?.memoryGib == null ? '' : ` (${formatNumber(first.memoryGib)} GiB)`;
  const names = [...new Set(gpus.map(({ name }) => name))].join(', ');
  const known = [
    servers > 1 ? `Pool of ${servers} servers, each with` : null,
    cpuCount === null ? null : `${cpuCount} CPU cores`,
    memoryGib === null ? 'memory not known' : `${formatNumber(Math.floor(memoryGib))} GiB memory`,
    first ? `${gpus.length} × ${names}${each}` : accelerators.includes('gpu') ? 'GPUs not known' : 'no GPU',
  ];
  return known.filter((part) => part !== null).join(' · ');
}
