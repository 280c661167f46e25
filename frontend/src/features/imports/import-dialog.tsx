import { Loader, Modal, NativeSelect, UnstyledButton } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { useLocation, useNavigate } from '@tanstack/react-router';
import { lazy, Suspense, useState, type ComponentType } from 'react';
import { ProblemAlert } from '@/components/problem-alert';
import type { ModelDetail } from '@/lib/api/types';
import { modelQuery } from '@/lib/queries';
import classes from './import-dialog.module.css';
import type { SourceFormProps } from './import-footer';
import { placeOf, sourceOf, SOURCES, VERSION_SOURCES, type ImportPlace, type SourceId } from './sources';
import { UploadForm } from './upload-form';
import { uploadManager, useUploads, type UploadItem } from './upload-manager';
import { UploadView } from './upload-view';

interface ImportDialogProps {
  /** The place that is open; undefined while the dialog is closed. */
  place: ImportPlace | undefined;
  /** The model that gets a further version; undefined where a new model comes in. */
  versionOf: string | undefined;
  onPlace: (place: ImportPlace) => void;
  onClose: () => void;
}

type OtherSource = Exclude<SourceId, 'upload'>;

const FORMS: Record<OtherSource, ComponentType<SourceFormProps>> = {
  huggingface: lazy(() => import('./hub-form')),
  list: lazy(() => import('./list-form')),
  path: lazy(() => import('./path-form')),
  image: lazy(() => import('./image-form')),
  create: lazy(() => import('./create-form')),
};

/** A model comes in, from any source. Closing it does not stop an upload: the dock shows it further. */
export function ImportDialog({ place, versionOf, onPlace, onClose }: ImportDialogProps) {
  const narrow = useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false });
  const navigate = useNavigate();
  const deploying = useLocation({ select: ({ pathname }) => pathname === '/deploy' });
  const [uploadKey, setUploadKey] = useState<string | null>(null);
  const running = useUploads().find(({ key }) => key === uploadKey);
  // A complete upload leaves the list after a while; the dialog goes on showing how it ended.
  const [last, setLast] = useState(running);
  if (running !== undefined && running !== last) setLast(running);
  const item = uploadKey === null ? undefined : (running ?? last);

  // While it fades out, the dialog shows what it showed.
  const [shown, setShown] = useState<{ place: ImportPlace; versionOf: string | undefined }>({ place: 'base', versionOf });
  if (place !== undefined && (place !== shown.place || versionOf !== shown.versionOf)) setShown({ place, versionOf });
  const target = useQuery({ ...modelQuery<ModelDetail>(shown.versionOf ?? ''), enabled: shown.versionOf !== undefined });

  return (
    <Modal
      opened={place !== undefined}
      onClose={onClose}
      onExitTransitionEnd={() => {
        forgetEnded(item);
        setUploadKey(null);
      }}
      title={shown.versionOf === undefined ? 'Import a model' : `Import a version of ${target.data?.name ?? 'the model'}`}
      size={item === undefined ? 960 : 640}
      fullScreen={narrow}
    >
      {item !== undefined ? (
        <UploadView
          item={item}
          onAnother={() => {
            forgetEnded(item);
            setUploadKey(null);
          }}
          onClose={onClose}
        />
      ) : shown.versionOf !== undefined && target.data === undefined ? (
        <ProblemAlert problem={target.error} onRetry={() => void target.refetch()} />
      ) : (
        <Sources
          key={shown.versionOf ?? 'new'}
          place={shown.place}
          target={target.data ?? null}
          narrow={narrow}
          onPlace={onPlace}
          onUpload={setUploadKey}
          onCancel={onClose}
          onAccepted={(modelId) =>
            // Whoever came from the deploy wizard goes on there.
            deploying && shown.versionOf === undefined
              ? void navigate({ to: '/deploy', search: { importing: modelId } })
              : void navigate({
                  to: '/models/$modelId',
                  params: { modelId },
                  search: shown.versionOf === undefined ? {} : { tab: 'versions' },
                })
          }
        />
      )}
    </Modal>
  );
}

interface SourcesProps extends SourceFormProps {
  place: ImportPlace;
  narrow: boolean;
  onPlace: (place: ImportPlace) => void;
  onUpload: (key: string) => void;
}

/** The sources beside the form of the chosen one. What was typed for a source stays while another is looked at. */
function Sources({ place, narrow, onPlace, onUpload, ...form }: SourcesProps) {
  const source = sourceOf(place);
  const [visited, setVisited] = useState<readonly SourceId[]>([source]);
  if (!visited.includes(source)) setVisited([...visited, source]);
  const choices = form.target === null ? SOURCES : VERSION_SOURCES;

  return (
    <div className={classes.layout}>
      {narrow ? (
        <NativeSelect
          label="From"
          data={choices.map(({ id, title }) => ({ value: id, label: title }))}
          value={source}
          onChange={(event) => onPlace(placeOf(event.currentTarget.value as SourceId))}
        />
      ) : (
        <nav aria-label="Source of the model">
          <ul className={classes.sources}>
            {choices.map((choice) => (
              <li key={choice.id}>
                <UnstyledButton
                  className={classes.source}
                  aria-current={choice.id === source || undefined}
                  data-autofocus={choice.id === source || undefined}
                  onClick={() => onPlace(placeOf(choice.id))}
                >
                  <choice.icon size={20} stroke={1.7} aria-hidden />
                  <span>
                    <span className={classes.title}>{choice.title}</span>
                    <span className={classes.words}>{choice.words}</span>
                  </span>
                </UnstyledButton>
              </li>
            ))}
          </ul>
        </nav>
      )}
      <div className={classes.forms}>
        {visited.map((id) => (
          <section key={id} hidden={id !== source} aria-label={choices.find((choice) => choice.id === id)?.title}>
            {id === 'upload' ? (
              <UploadForm {...form} place={place} onPlace={onPlace} onUpload={onUpload} />
            ) : (
              <Suspense fallback={<Loader size={22} aria-label="Loading the form" />}>
                <SourceForm id={id} {...form} />
              </Suspense>
            )}
          </section>
        ))}
      </div>
    </div>
  );
}

function SourceForm({ id, ...form }: SourceFormProps & { id: OtherSource }) {
  const Form = FORMS[id];
  return <Form {...form} />;
}

/** A refusal or a check that was read here need not be told again in the dock. */
function forgetEnded(item: UploadItem | undefined): void {
  if (item === undefined) return;
  if (item.checkOnly && item.status !== 'complete') void uploadManager.cancel(item.key);
  else if (item.status === 'failed' && item.modelId === null) uploadManager.dismiss(item.key);
}
