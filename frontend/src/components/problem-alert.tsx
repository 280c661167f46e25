import { Alert, Button, type MantineSpacing } from '@mantine/core';
import { IconAlertTriangle } from '@tabler/icons-react';
import { ApiProblem } from '@/lib/api/client';
import classes from './problem-alert.module.css';

interface ProblemAlertProps {
  /** Any thrown value; nothing is shown for null and undefined. */
  problem: unknown;
  onRetry?: () => void;
  mt?: MantineSpacing;
  mb?: MantineSpacing;
}

/** What is wrong, field by field, and what to do about it. */
export function ProblemAlert({ problem, onRetry, ...space }: ProblemAlertProps) {
  if (problem === null || problem === undefined) return null;
  const { detail, remedy, errors } = ApiProblem.from(problem);
  // Where one field is all that is wrong, the detail often says it already.
  const fields = errors.filter(({ message }) => message !== detail);
  return (
    <Alert color="red" role="alert" icon={<IconAlertTriangle size={20} aria-hidden />} title={detail} {...space}>
      {fields.length > 0 && (
        <ul className={classes.errors}>
          {fields.map(({ field, message }) => (
            <li key={`${field} ${message}`}>
              <code>{field}</code> {message}
            </li>
          ))}
        </ul>
      )}
      <p className={classes.remedy}>{remedy}</p>
      {onRetry && (
        <Button size="xs" variant="default" mt="sm" onClick={onRetry}>
          Try again
        </Button>
      )}
    </Alert>
  );
}
