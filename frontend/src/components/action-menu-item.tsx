import { Menu, type MenuItemProps } from '@mantine/core';
import type { ReactNode } from 'react';
import classes from './action-menu-item.module.css';

interface ActionMenuItemProps extends Omit<MenuItemProps, 'disabled' | 'color'> {
  children: ReactNode;
  onClick: () => void;
  /** Why the action is not possible now; null or undefined when it is. */
  disabledReason?: string | null | undefined;
  /** Destroys something. */
  danger?: boolean;
}

/** A menu item that, when the action is not possible, stays reachable and says why beneath its name. */
export function ActionMenuItem({ children, onClick, disabledReason, danger = false, ...rest }: ActionMenuItemProps) {
  if (!disabledReason) {
    return (
      <Menu.Item {...rest} className={danger ? classes.danger : undefined} onClick={onClick}>
        {children}
      </Menu.Item>
    );
  }
  return (
    <Menu.Item
      {...rest}
      aria-disabled
      closeMenuOnClick={false}
      className={classes.disabled}
      onClick={(event) => event.preventDefault()}
    >
      <span className={classes.name}>{children}</span>
      <span className={classes.reason}>{disabledReason}</span>
    </Menu.Item>
  );
}
