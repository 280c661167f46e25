import type { ModelDetail } from '@/lib/api/types';
import { FilesPanel } from './files-panel';
import { ModelCardPanel } from './model-card-panel';
import classes from './overview-tab.module.css';
import { OriginPanel } from './origin-panel';
import { ReportPanel } from './report-panel';

/** What the model is and what was found when it was checked; after a failure the report comes first. */
export function OverviewTab({ model }: { model: ModelDetail }) {
  const failed = model.state === 'import_failed';
  return (
    <div className={classes.root}>
      <div className={classes.column}>
        {failed ? <ReportPanel model={model} /> : <ModelCardPanel model={model} />}
        <OriginPanel model={model} />
        <FilesPanel model={model} />
      </div>
      <div className={classes.column}>{failed ? <ModelCardPanel model={model} /> : <ReportPanel model={model} />}</div>
    </div>
  );
}
