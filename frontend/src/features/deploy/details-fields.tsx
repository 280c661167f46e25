import { TagsInput, Textarea } from '@mantine/core';
import { MAX_DESCRIPTION_LENGTH, MAX_LABELS, type Details } from '@/lib/details';
import classes from './steps.module.css';

interface DetailsFieldsProps {
  details: Pick<Details, 'description' | 'labels'>;
  problems: Record<string, string>;
  onChange: (part: Partial<Pick<Details, 'description' | 'labels'>>) => void;
}

/** What people search the model by. */
export function DetailsFields({ details, problems, onChange }: DetailsFieldsProps) {
  return (
    <div className={classes.stack}>
      <Textarea
        label="Description"
        description={`${details.description.length} of ${MAX_DESCRIPTION_LENGTH} characters`}
        autosize
        minRows={2}
        maxRows={8}
        value={details.description}
        error={problems['description']}
        onChange={(event) => onChange({ description: event.currentTarget.value })}
      />
      <TagsInput
        label="Tags"
        description={`They ease the search for the model. Up to ${MAX_LABELS}; type one and press Enter.`}
        maxTags={MAX_LABELS}
        acceptValueOnBlur
        value={details.labels}
        error={problems['labels']}
        onChange={(labels) => onChange({ labels })}
      />
    </div>
  );
}
