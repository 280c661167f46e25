import classes from './model-labels.module.css';

const SHOWN = 2;

/** The first labels; how many more there are, with their names on hover. */
export function ModelLabels({ labels }: { labels: string[] }) {
  if (labels.length === 0) return null;
  const more = labels.slice(SHOWN);
  return (
    <ul className={classes.labels} aria-label="Labels">
      {labels.slice(0, SHOWN).map((label) => (
        <li key={label} className={classes.label} title={label}>
          {label}
        </li>
      ))}
      {more.length > 0 && (
        <li className={classes.label} title={more.join(', ')}>
          +{more.length}
        </li>
      )}
    </ul>
  );
}
