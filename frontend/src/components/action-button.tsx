import { Button, Tooltip, VisuallyHidden, type ButtonProps } from '@mantine/core';
import { useId, type ReactNode } from 'react';

interface ActionButtonProps extends Omit<ButtonProps, 'disabled'> {
  children: ReactNode;
  onClick?: () => void;
  /** Why the action is not possible now; null or undefined when it is. */
  disabledReason?: string | null | undefined;
  type?: 'button' | 'submit';
}

/**
 * A button that, when the action is not possible, stays in the tab order and says why:
 * as a tooltip on hover and focus, and as its description for screen readers.
 */
export function ActionButton({ children, onClick, disabledReason, type = 'button', ...rest }: ActionButtonProps) {
  const reasonId = useId();
  if (!disabledReason) {
    return (
      <Button type={type} {...rest} {...(onClick && { onClick })}>
        {children}
      </Button>
    );
  }
  return (
    <>
      <Tooltip label={disabledReason} multiline maw={300} events={{ hover: true, focus: true, touch: true }}>
        <Button
          type="button"
          {...rest}
          data-disabled
          aria-disabled
          aria-describedby={reasonId}
          onClick={(event) => event.preventDefault()}
        >
          {children}
        </Button>
      </Tooltip>
      <VisuallyHidden id={reasonId}>{disabledReason}</VisuallyHidden>
    </>
  );
}
