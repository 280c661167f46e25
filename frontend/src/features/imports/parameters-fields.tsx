import { Skeleton, Tabs } from '@mantine/core';
import { lazy, Suspense } from 'react';
import { jsonFault } from '@/lib/container-configuration';
import classes from './form.module.css';
import { parametersOf } from '@/lib/json-schema';
import { ParametersTable } from '@/components/parameters-table';

const JsonEditor = lazy(() => import('./json-editor'));

interface ParametersFieldsProps {
  /** What the configuration says of the parameters. */
  derived: { input: unknown; output: unknown };
  /** Schemas of one's own, which come before those of the configuration. */
  schemas: { input: string; output: string };
  onChange: (schemas: { input: string; output: string }) => void;
}

const SIDES = [
  { side: 'input', title: 'Input parameters' },
  { side: 'output', title: 'Output parameters' },
] as const;

/** What the model takes and answers, as a table; from the configuration, or from a schema of one's own. */
export function ParametersFields({ derived, schemas, onChange }: ParametersFieldsProps) {
  return (
    <Tabs defaultValue="input" keepMounted={false}>
      <Tabs.List>
        {SIDES.map(({ side, title }) => (
          <Tabs.Tab key={side} value={side}>
            {title}
          </Tabs.Tab>
        ))}
      </Tabs.List>
      {SIDES.map(({ side, title }) => {
        const own = schemas[side];
        const schema: unknown = own.trim() === '' ? derived[side] : jsonFault(own) === null ? JSON.parse(own) : null;
        return (
          <Tabs.Panel key={side} value={side} pt="sm">
            <div className={classes.stack}>
              <ParametersTable parameters={parametersOf(schema)} />
              <details>
                <summary className={classes.hint}>Write the JSON Schema here instead of in the configuration file</summary>
                <Suspense fallback={<Skeleton height={120} mt={8} radius="md" />}>
                  <div className={classes.below}>
                    <JsonEditor
                      label={`JSON Schema of the ${title.toLowerCase()}`}
                      value={own}
                      onChange={(text) => onChange({ ...schemas, [side]: text })}
                      schema={null}
                    />
                  </div>
                </Suspense>
              </details>
            </div>
          </Tabs.Panel>
        );
      })}
    </Tabs>
  );
}
