import classes from './parameters-table.module.css';
import type { Parameter } from '@/lib/json-schema';

/** Parameters of an interface, a row each. */
export function ParametersTable({ parameters }: { parameters: readonly Parameter[] }) {
  if (parameters.length === 0) return <p className={classes.none}>None is described.</p>;
  return (
    <table className={classes.root}>
      <thead>
        <tr>
          <th scope="col">Name</th>
          <th scope="col">Type</th>
          <th scope="col">Description</th>
        </tr>
      </thead>
      <tbody>
        {parameters.map((parameter) => (
          <tr key={parameter.name}>
            <th scope="row">
              <code>{parameter.name}</code>
              {parameter.required && <span className={classes.required}> required</span>}
            </th>
            <td>{parameter.type}</td>
            <td>{parameter.description === '' ? '—' : parameter.description}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
