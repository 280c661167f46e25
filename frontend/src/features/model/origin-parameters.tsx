import { CodeBlock } from '@/components/code-block';
import { ParametersTable } from '@/components/parameters-table';
import { jsonFault, parametersSchemas } from '@/lib/container-configuration';
import { parametersOf } from '@/lib/json-schema';
import classes from './origin-panel.module.css';

interface OriginParametersProps {
  configuration: string;
  inputSchema: string | null;
  outputSchema: string | null;
}

/** What a container image takes and answers, and its configuration file. */
export function OriginParameters({ configuration, inputSchema, outputSchema }: OriginParametersProps) {
  const derived = parametersSchemas(configuration);
  return (
    <>
      <h3 className={classes.heading}>Input parameters</h3>
      <ParametersTable parameters={parametersOf(parsed(inputSchema) ?? derived.input)} />
      <h3 className={classes.heading}>Output parameters</h3>
      <ParametersTable parameters={parametersOf(parsed(outputSchema) ?? derived.output)} />
      <details className={classes.document}>
        <summary>Configuration file</summary>
        <CodeBlock code={configuration} what="configuration file" />
      </details>
    </>
  );
}

function parsed(text: string | null): unknown {
  return text === null || jsonFault(text) !== null ? null : JSON.parse(text);
}
