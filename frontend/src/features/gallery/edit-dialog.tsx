import { Modal, Skeleton } from '@mantine/core';
import { DetailsForm } from '@/components/details-form';
import { ProblemAlert } from '@/components/problem-alert';
import type { ModelSummary } from '@/lib/api/types';
import { useModel } from '@/lib/queries';

interface EditDialogProps {
  /** The model to edit; null while the dialog is closed. */
  model: ModelSummary | null;
  onClose: () => void;
}

/** What people read about a model. The name stays: it comes from the imported file. */
export function EditDialog({ model, onClose }: EditDialogProps) {
  return (
    <Modal opened={model !== null} onClose={onClose} title={`Edit ${model?.name ?? ''}`} size={600}>
      {model !== null && <LoadedForm key={model.id} modelId={model.id} onSaved={onClose} />}
    </Modal>
  );
}

function LoadedForm({ modelId, onSaved }: { modelId: string; onSaved: () => void }) {
  const model = useModel(modelId);
  if (model.data !== undefined) return <DetailsForm model={model.data} onSaved={onSaved} />;
  if (model.isError) return <ProblemAlert problem={model.error} onRetry={() => void model.refetch()} />;
  return <Skeleton height={360} />;
}
