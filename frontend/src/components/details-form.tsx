import { Alert, Button, Group, TagsInput, Textarea } from '@mantine/core';
import { useState } from 'react';
import type { ModelDetail } from '@/lib/api/types';
import { refusal } from '@/lib/actions';
import { useCommand } from '@/lib/commands';
import {
  cleanDetails,
  detailsErrors,
  detailsOf,
  MAX_DESCRIPTION_LENGTH,
  MAX_LABELS,
  sameDetails,
  type Details,
} from '@/lib/details';
import { ActionButton } from './action-button';
import classes from './details-form.module.css';
import { LinksField } from './links-field';
import { ProblemAlert } from './problem-alert';

interface DetailsFormProps {
  model: ModelDetail;
  /** Runs after a save: closes the dialog that holds the form, for instance. */
  onSaved?: () => void;
}

/**
 * Description, labels and links. Changes by others show at once while nothing is being edited;
 * during an edit the person decides which of the two stays.
 */
export function DetailsForm({ model, onSaved }: DetailsFormProps) {
  const saved = detailsOf(model);
  const [baseline, setBaseline] = useState(saved);
  const [draft, setDraft] = useState(saved);
  /** The aggregate version that the last save made: the model as shown may lag behind it for a moment. */
  const [savedVersion, setSavedVersion] = useState(0);
  const dirty = !sameDetails(draft, baseline);

  const save = useCommand<Details>({
    modelId: model.id,
    request: (details) => ({
      method: 'PATCH',
      path: `/api/models/${model.id}`,
      body: details,
      ifMatch: Math.max(model.version, savedVersion),
    }),
    accepted: `${model.name} is saved.`,
    problems: 'inline',
    onAccepted: (answer, details) => {
      setSavedVersion(answer.version);
      setBaseline(details);
      setDraft(details);
      onSaved?.();
    },
  });

  const changedElsewhere = !save.isPending && model.version >= savedVersion && !sameDetails(saved, baseline);
  if (changedElsewhere && (!dirty || sameDetails(saved, draft))) {
    setBaseline(saved);
    setDraft(saved);
  }

  const errors = detailsErrors(draft);
  const serverErrors = save.error?.fieldErrors ?? {};
  const editRefusal = refusal(model.actions, 'edit');
  const change = (part: Partial<Details>) => {
    save.reset();
    setDraft({ ...draft, ...part });
  };

  return (
    <form
      className={classes.form}
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        if (Object.keys(errors).length === 0 && dirty) save.mutate(cleanDetails(draft));
      }}
    >
      <Textarea
        label="Description"
        description={`${draft.description.length} of ${MAX_DESCRIPTION_LENGTH} characters`}
        autosize
        minRows={3}
        maxRows={12}
        value={draft.description}
        error={errors['description'] ?? serverErrors['description']}
        onChange={(event) => change({ description: event.currentTarget.value })}
      />
      <TagsInput
        label="Labels"
        description={`Up to ${MAX_LABELS}. Type one and press Enter.`}
        {...(draft.labels.length < MAX_LABELS && { placeholder: 'Add a label' })}
        maxTags={MAX_LABELS}
        value={draft.labels}
        error={errors['labels'] ?? serverErrors['labels']}
        onChange={(labels) => change({ labels })}
      />
      <LinksField
        links={draft.documentationLinks}
        errors={errors}
        serverError={serverErrors['documentationLinks']}
        onChange={(documentationLinks) => change({ documentationLinks })}
      />
      {changedElsewhere && dirty && (
        <Alert color="ochre" title="Someone else has changed these details meanwhile">
          <Group gap="sm" mt={4}>
            <Button
              size="xs"
              variant="default"
              onClick={() => {
                setBaseline(saved);
                setDraft(saved);
              }}
            >
              Take their version
            </Button>
            <Button size="xs" variant="default" onClick={() => setBaseline(saved)}>
              Keep mine
            </Button>
          </Group>
        </Alert>
      )}
      {save.error?.errors.length === 0 && <ProblemAlert problem={save.error} />}
      <Group gap="sm">
        <ActionButton
          type="submit"
          loading={save.isPending}
          disabledReason={editRefusal ?? saveRefusal(dirty, changedElsewhere, errors)}
        >
          Save
        </ActionButton>
        {dirty && (
          <Button
            variant="subtle"
            color="gray"
            onClick={() => {
              save.reset();
              setDraft(baseline);
            }}
          >
            Discard changes
          </Button>
        )}
      </Group>
    </form>
  );
}

function saveRefusal(dirty: boolean, changedElsewhere: boolean, errors: Record<string, string>): string | null {
  if (!dirty) return 'Nothing has been changed.';
  if (changedElsewhere) return 'First decide which version stays.';
  return Object.values(errors)[0] ?? null;
}
