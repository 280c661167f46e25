import { Link } from '@tanstack/react-router';
import { Facts } from '@/components/facts';
import { Panel } from '@/components/panel';
import type { ModelDetail } from '@/lib/api/types';
import { actorText } from '@/lib/event-text';
import { formatDateTime } from '@/lib/format';
import { SOURCE_NAMES } from '@/lib/origin-words';
import { originFacts, originParts } from './origin';
import { OriginParameters } from './origin-parameters';
import classes from './origin-panel.module.css';

/** Where the version comes from, so that anyone can find its files again. */
export function OriginPanel({ model }: { model: ModelDetail }) {
  const { configuration, inputSchema, outputSchema } = originParts(model.origin);
  return (
    <Panel title="Origin" description={`${SOURCE_NAMES[model.source]}, version ${model.modelVersion}.`}>
      <Facts
        facts={[
          ...originFacts(model),
          ...(model.technicalName === model.name ? [] : [{ label: 'Technical name', value: model.technicalName }]),
          ...(model.batchId === null
            ? []
            : [
                {
                  label: 'Batch',
                  value: (
                    <Link to="/imports/$batchId" params={{ batchId: model.batchId }}>
                      Imported with others
                    </Link>
                  ),
                },
              ]),
        ]}
      />
      {model.acceptedRisks.map((risk) => (
        <p key={risk.at} className={classes.risk}>
          {risk.risks.map((name) => (name === 'pickle' ? 'Pickled weights' : 'Custom code')).join(' and ')} allowed by{' '}
          {actorText(risk.actor)}, {formatDateTime(risk.at)}: “{risk.reason}”
        </p>
      ))}
      {configuration !== null && (
        <OriginParameters configuration={configuration} inputSchema={inputSchema} outputSchema={outputSchema} />
      )}
    </Panel>
  );
}
