import { Text } from '@mantine/core';
import { modals } from '@mantine/modals';
import type { ReactNode } from 'react';
import { ActionButton } from './action-button';

export interface Confirmation {
  title: string;
  /** What will happen, and what will not. */
  message: ReactNode;
  /** The verb on the button: "Delete model", never "OK". */
  confirmLabel: string;
  danger?: boolean;
  onConfirm: () => void;
}

/** Asks before something that cannot be undone or that others will notice. */
export function confirm({ title, message, confirmLabel, danger = false, onConfirm }: Confirmation): void {
  modals.openConfirmModal({
    title,
    children: <Text size="sm">{message}</Text>,
    labels: { confirm: confirmLabel, cancel: 'Keep as it is' },
    confirmProps: { color: danger ? 'red' : 'verdigris' },
    onConfirm,
  });
}

type ConfirmButtonProps = Omit<React.ComponentProps<typeof ActionButton>, 'onClick'> & { confirmation: Confirmation };

export function ConfirmButton({ confirmation, ...rest }: ConfirmButtonProps) {
  return <ActionButton {...rest} onClick={() => confirm(confirmation)} />;
}
