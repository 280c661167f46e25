import { Button, Group, Textarea } from '@mantine/core';
import { useState } from 'react';
import { ActionButton } from '@/components/action-button';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import type { ModelDetail } from '@/lib/api/types';
import { refusal } from '@/lib/actions';
import { useCommand } from '@/lib/commands';
import classes from './template-panel.module.css';

/** The Modelfile with which Ollama serves the model. Changes by others show while nothing is being edited. */
export function TemplatePanel({ model }: { model: ModelDetail }) {
  const [draft, setDraft] = useState<string | null>(null);
  const text = draft ?? model.template;
  const save = useCommand<string>({
    modelId: model.id,
    request: (template) => ({
      method: 'PUT',
      path: `/api/models/${model.id}/template`,
      body: { template },
      ifMatch: model.version,
    }),
    accepted: 'The deployment template is saved',
    problems: 'inline',
    onAccepted: () => setDraft(null),
  });

  return (
    <Panel
      title="Deployment template for Ollama"
      description="Written as a Modelfile. Only needed when the model is served with Ollama; a running deployment keeps its own."
    >
      <Textarea
        aria-label="Deployment template"
        placeholder={'TEMPLATE """{{ .Prompt }}"""\nPARAMETER temperature 0.7'}
        autosize
        minRows={4}
        maxRows={18}
        spellCheck={false}
        classNames={{ input: classes.code }}
        value={text}
        onChange={(event) => {
          save.reset();
          setDraft(event.currentTarget.value);
        }}
      />
      <ProblemAlert problem={save.error} mt="sm" />
      <Group gap="sm" mt="md">
        <ActionButton
          loading={save.isPending}
          disabledReason={refusal(model.actions, 'edit') ?? (text === model.template ? 'Nothing has been changed.' : null)}
          onClick={() => save.mutate(text)}
        >
          Save template
        </ActionButton>
        {text !== model.template && (
          <Button
            variant="subtle"
            color="gray"
            onClick={() => {
              save.reset();
              setDraft(null);
            }}
          >
            Discard changes
          </Button>
        )}
      </Group>
    </Panel>
  );
}
