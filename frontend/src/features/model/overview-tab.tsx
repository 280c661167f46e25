import type { ModelDetail } from '@/lib/api/types';
import { FilesPanel } from './files-panel';
import { ModelCardPanel } from './model-card-panel';
import classes from './model-page.module.css';
import { ReportPanel } from './report-panel';

export function OverviewTab({ model }: { model: ModelDetail }) {
  const failed = model.state === 'import_failed';
  return (
    <div className={classes.stack}>
      {failed && <ReportPanel model={model} />}
      <ModelCardPanel model={model} />
      {!failed && <ReportPanel model={model} />}
      <FilesPanel model={model} />
    </div>
  );
}
