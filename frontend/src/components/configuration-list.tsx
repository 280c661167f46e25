import type { ReactNode } from 'react';
import type { DeployConfiguration } from '@/lib/api/types';
import { describeConfiguration, type ConfigurationSection } from '@/lib/configuration';
import { Facts } from './facts';
import classes from './configuration-list.module.css';

interface ConfigurationListProps {
  configuration: DeployConfiguration;
  /** Beside a section's title, for instance a way to change it. */
  action?: (section: ConfigurationSection, title: string) => ReactNode;
}

/** A deploy configuration, complete and read only. */
export function ConfigurationList({ configuration, action }: ConfigurationListProps) {
  return (
    <div className={classes.root}>
      {describeConfiguration(configuration).map(({ section, title, rows }) => (
        <section key={section} className={classes.section}>
          <div className={classes.head}>
            <h3 className={classes.title}>{title}</h3>
            {action?.(section, title)}
          </div>
          <Facts columns={3} facts={rows.map(({ label, value }) => ({ label, value }))} />
        </section>
      ))}
    </div>
  );
}
