import type { Difference } from '@/lib/configuration';
import classes from './difference-table.module.css';

interface DifferenceTableProps {
  differences: Difference[];
  before: string;
  after: string;
}

/** What changes between two configurations, field by field. */
export function DifferenceTable({ differences, before, after }: DifferenceTableProps) {
  return (
    <table className={classes.root}>
      <thead>
        <tr>
          <th scope="col">Field</th>
          <th scope="col">{before}</th>
          <th scope="col">{after}</th>
        </tr>
      </thead>
      <tbody>
        {differences.map((difference) => (
          <tr key={difference.path}>
            <th scope="row">{difference.label}</th>
            <td className={classes.before}>{difference.before ?? <span className={classes.unset}>not set</span>}</td>
            <td className={classes.after}>{difference.after ?? <span className={classes.unset}>not set</span>}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
