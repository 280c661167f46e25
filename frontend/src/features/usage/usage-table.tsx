import { Link } from '@tanstack/react-router';
import type { UsageItem, UsageReport } from '@/lib/api/types';
import { formatNumber } from '@/lib/format';
import { formatMoney, subject, type By } from './usage';
import classes from './usage-view.module.css';

const HEADINGS: Record<By, string> = { day: 'Day', model: 'Model', key: 'API key' };

/** A line for each of what is told apart; the newest day, or who used most, first. */
export function UsageTable({ report, by }: { report: UsageReport; by: By[] }) {
  const { total } = report;
  const onGpus = total.acceleratorSeconds > 0;
  const priced = report.items.some(({ cost }) => cost !== null);
  const lines = [...report.items].sort(by.includes('day') ? byDay : byUse);
  return (
    // Wide tables move within the panel; the keyboard reaches them too.
    // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex
    <div className={classes.scroll} tabIndex={0} role="region" aria-label="Usage">
      <table className={classes.table}>
        <thead>
          <tr>
            {by.map((each) => (
              <th key={each} scope="col">
                {HEADINGS[each]}
              </th>
            ))}
            <th scope="col" className={classes.number}>Requests</th>
            <th scope="col" className={classes.number}>Failed</th>
            <th scope="col" className={classes.number}>Tokens in</th>
            <th scope="col" className={classes.number}>Tokens out</th>
            {onGpus && <th scope="col" className={classes.number}>GPU seconds</th>}
            <th scope="col" className={classes.number}>Replica hours</th>
            {priced && <th scope="col" className={classes.number}>Cost</th>}
          </tr>
        </thead>
        <tbody>
          {lines.map((item) => (
            <tr key={`${item.day} ${item.modelId} ${item.keyId} ${item.kind}`}>
              {by.map((each, place) =>
                place === 0 ? (
                  <th key={each} scope="row">
                    <Told item={item} by={each} />
                  </th>
                ) : (
                  <td key={each}>
                    <Told item={item} by={each} />
                  </td>
                ),
              )}
              <td className={classes.number}>{formatNumber(item.requests)}</td>
              <td className={classes.number}>{formatNumber(item.failedRequests)}</td>
              <td className={classes.number}>{formatNumber(item.inputTokens)}</td>
              <td className={classes.number}>{formatNumber(item.outputTokens)}</td>
              {onGpus && <td className={classes.number}>{formatNumber(Number(item.acceleratorSeconds.toFixed(1)))}</td>}
              <td className={classes.number}>{item.replicaHours === 0 ? '–' : formatNumber(Number(item.replicaHours.toFixed(2)))}</td>
              {priced && <td className={classes.number}>{formatMoney(item.cost, item.currency)}</td>}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Told({ item, by }: { item: UsageItem; by: By }) {
  if (by === 'day') return <>{item.day}</>;
  const { model, key } = subject(item);
  if (by === 'key') return <>{key}</>;
  if (item.modelId === null || item.modelName === null) return <>{model}</>;
  return (
    <Link to="/models/$modelId" params={{ modelId: item.modelId }} search={{ tab: 'usage' }} className={classes.link}>
      {model}
    </Link>
  );
}

function byDay(one: UsageItem, other: UsageItem): number {
  return (other.day ?? '').localeCompare(one.day ?? '');
}

function byUse(one: UsageItem, other: UsageItem): number {
  return other.requests - one.requests || other.replicaHours - one.replicaHours;
}
