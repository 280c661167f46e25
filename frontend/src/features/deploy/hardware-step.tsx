import { Radio } from '@mantine/core';
import { Panel } from '@/components/panel';
import type { DeployServer } from '@/lib/api/types';
import { formatNumber } from '@/lib/format';
import { NumberField } from './number-field';
import classes from './steps.module.css';
import type { StepProps } from './wizard';

/** Where the replicas run. A server on which the model does not fit says why. */
export function HardwareStep(props: StepProps) {
  const { draft, onChange, problems, options } = props;
  const chosen = options.servers.find(({ name }) => name === draft.hardware.server);

  const choose = (name: string) => {
    const server = options.servers.find((candidate) => candidate.name === name);
    if (!server) return;
    onChange({
      hardware: { server: server.name, accelerator: server.accelerator },
      numbers: {
        ...draft.numbers,
        'hardware.acceleratorCount': server.accelerator === 'gpu' ? Math.max(1, draft.numbers['hardware.acceleratorCount'] || 1) : 0,
      },
    });
  };

  return (
    <div className={classes.stack}>
      <Radio.Group label="Server" value={draft.hardware.server} error={problems['hardware.server'] ?? problems['hardware.accelerator']} onChange={choose}>
        <div className={classes.cards}>
          {options.servers.map((server) => (
            <div key={server.name} className={classes.card} data-chosen={server.name === draft.hardware.server} data-disabled={!server.fits}>
              <Radio
                value={server.name}
                disabled={!server.fits}
                label={server.name}
                description={capacity(server)}
                classNames={{ body: classes.radioBody, label: classes.radioLabel, description: classes.radioDescription }}
              />
              {!server.fits && <p className={classes.reason}>{server.reason ?? 'The model does not fit on this server.'}</p>}
            </div>
          ))}
          {options.servers.length === 0 && (
            <p className={classes.message}>No server is known. Check that the deploy worker runs: it announces its machine.</p>
          )}
        </div>
      </Radio.Group>
      <Panel title="For each replica">
        <div className={classes.fields}>
          {chosen?.accelerator === 'gpu' && (
            <NumberField {...props} path="hardware.acceleratorCount" max={chosen.gpus.length} />
          )}
          <NumberField {...props} path="hardware.memoryGib" {...(chosen && { max: chosen.memoryGib })} />
        </div>
      </Panel>
    </div>
  );
}

function capacity(server: DeployServer): string {
  const base = `${server.cpuCount} CPU cores · ${formatNumber(Math.floor(server.memoryGib))} GiB memory`;
  if (server.gpus.length === 0) return `${base} · no GPU`;
  const names = [...new Set(server.gpus.map(({ name }) => name))].join(', ');
  return `${base} · ${server.gpus.length} × ${names} (${formatNumber(server.gpus[0]?.memoryGib ?? 0)} GiB)`;
}
