import { ActionIcon, Button, TextInput, Tooltip } from '@mantine/core';
import { IconPlus, IconTrash } from '@tabler/icons-react';
import { MAX_LINKS } from '@/lib/details';
import classes from './links-field.module.css';

interface LinksFieldProps {
  links: string[];
  errors: Record<string, string>;
  serverError?: string | undefined;
  onChange: (links: string[]) => void;
}

/** Web addresses about a model, up to the limit. */
export function LinksField({ links, errors, serverError, onChange }: LinksFieldProps) {
  return (
    <fieldset className={classes.links}>
      <legend className={classes.legend}>Documentation links</legend>
      <p className={classes.hint}>Up to {MAX_LINKS} web addresses.</p>
      {links.map((link, index) => (
        <div key={index} className={classes.link}>
          <TextInput
            type="url"
            aria-label={`Documentation link ${index + 1}`}
            placeholder="https://"
            value={link}
            error={errors[`documentationLinks.${index}`]}
            onChange={(event) => onChange(links.with(index, event.currentTarget.value))}
          />
          <Tooltip label="Remove link">
            <ActionIcon
              variant="subtle"
              color="gray"
              size={36}
              aria-label={`Remove documentation link ${index + 1}`}
              onClick={() => onChange(links.toSpliced(index, 1))}
            >
              <IconTrash size={16} aria-hidden />
            </ActionIcon>
          </Tooltip>
        </div>
      ))}
      {serverError !== undefined && (
        <p className={classes.error} role="alert">
          {serverError}
        </p>
      )}
      {links.length < MAX_LINKS && (
        <Button
          variant="default"
          size="xs"
          leftSection={<IconPlus size={15} aria-hidden />}
          onClick={() => onChange([...links, ''])}
        >
          Add a link
        </Button>
      )}
    </fieldset>
  );
}
