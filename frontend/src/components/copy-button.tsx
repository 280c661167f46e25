import { ActionIcon, Button, Tooltip } from '@mantine/core';
import { useClipboard } from '@mantine/hooks';
import { IconCheck, IconCopy } from '@tabler/icons-react';

interface CopyButtonProps {
  value: string;
  /** What is copied: "Copy <what>". */
  what: string;
  /** Show the words beside the icon. */
  labelled?: boolean;
}

export function CopyButton({ value, what, labelled = false }: CopyButtonProps) {
  const clipboard = useClipboard({ timeout: 1600 });
  const label = clipboard.copied ? 'Copied' : `Copy ${what}`;
  const icon = clipboard.copied ? <IconCheck size={16} aria-hidden /> : <IconCopy size={16} aria-hidden />;
  const onClick = () => clipboard.copy(value);
  if (labelled) {
    return (
      <Button variant="default" size="xs" leftSection={icon} onClick={onClick}>
        {label}
      </Button>
    );
  }
  return (
    <Tooltip label={label}>
      <ActionIcon variant="subtle" color="gray" aria-label={label} onClick={onClick}>
        {icon}
      </ActionIcon>
    </Tooltip>
  );
}
