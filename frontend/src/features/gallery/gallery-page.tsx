import { Button, Drawer, Indicator, NativeSelect, TextInput } from '@mantine/core';
import { useDebouncedCallback, useDisclosure, useMediaQuery } from '@mantine/hooks';
import { IconAdjustmentsHorizontal, IconPlus, IconRocket, IconSearch } from '@tabler/icons-react';
import { getRouteApi } from '@tanstack/react-router';
import { useState } from 'react';
import { EmptyState } from '@/components/empty-state';
import { LinkButton } from '@/components/link-button';
import { PageHeader } from '@/components/page-header';
import { ProblemAlert } from '@/components/problem-alert';
import type { ModelSummary } from '@/lib/api/types';
import { formatNumber } from '@/lib/format';
import { EditDialog } from './edit-dialog';
import { FacetPanel } from './facet-panel';
import classes from './gallery-page.module.css';
import { FILTERS, useGallery, type GallerySearch } from './gallery-query';
import { GallerySkeleton } from './gallery-skeleton';
import { ModelCards } from './model-cards';
import { ModelTable } from './model-table';

const route = getRouteApi('/shell/');

const SORTS = [
  { value: 'newest', label: 'Newest first' },
  { value: 'oldest', label: 'Oldest first' },
  { value: 'name', label: 'By name' },
  { value: 'size', label: 'By size' },
];
const SEARCH_DELAY_MS = 250;

export default function GalleryPage() {
  const search = route.useSearch({ select: gallerySearch, structuralSharing: true });
  const navigate = route.useNavigate();
  const wide = useMediaQuery('(min-width: 62em)', true, { getInitialValueInEffect: false });
  const [filtersOpen, filters] = useDisclosure(false);
  const [editing, setEditing] = useState<ModelSummary | null>(null);
  const gallery = useGallery(search);

  const models = gallery.data?.pages.flatMap(({ items }) => items) ?? [];
  const first = gallery.data?.pages[0];
  const active = FILTERS.filter((filter) => search[filter] !== undefined).length;
  const narrowed = active > 0 || search.search !== undefined;

  const change = (changes: GallerySearch) =>
    void navigate({ search: (current) => ({ ...current, ...changes }), replace: true, resetScroll: false });
  const clear = () => void navigate({ search: search.sort === undefined ? {} : { sort: search.sort } });

  const facets = <FacetPanel facets={first?.facets} selected={search} onSelect={change} />;
  const Models = wide ? ModelTable : ModelCards;

  return (
    <>
      <PageHeader
        title="Model gallery"
        description="Every model that was imported, newest first."
        actions={
          <>
            <LinkButton to="/deploy" variant="default" leftSection={<IconRocket size={18} aria-hidden />}>
              Deploy a model
            </LinkButton>
            <LinkButton
              to="."
              search={(current) => ({ ...current, import: 'base' as const })}
              resetScroll={false}
              replace
              leftSection={<IconPlus size={18} aria-hidden />}
            >
              Import model
            </LinkButton>
          </>
        }
      />

      <div className={classes.layout}>
        <aside className={classes.facets} aria-label="Filters">
          {facets}
        </aside>

        <div className={classes.content}>
          <div className={classes.toolbar}>
            <SearchField
              value={search.search ?? ''}
              onChange={(text) => change({ search: text === '' ? undefined : text })}
            />
            <Indicator label={active} disabled={active === 0} size={18} color="verdigris" className={classes.filtersButton}>
              <Button
                variant="default"
                leftSection={<IconAdjustmentsHorizontal size={18} aria-hidden />}
                onClick={filters.open}
              >
                Filters
              </Button>
            </Indicator>
            <NativeSelect
              aria-label="Order"
              data={SORTS}
              value={search.sort ?? 'newest'}
              onChange={(event) => change({ sort: event.currentTarget.value === 'newest' ? undefined : event.currentTarget.value })}
              className={classes.sort}
            />
          </div>
          <p className={classes.count} role="status">
            {first === undefined
              ? ' '
              : `${formatNumber(first.total)} ${first.total === 1 ? 'model' : 'models'}${narrowed ? ' found' : ''}`}
            {narrowed && (
              <Button variant="subtle" size="compact-xs" onClick={clear}>
                Clear search and filters
              </Button>
            )}
          </p>

          {gallery.isError && (
            <ProblemAlert problem={gallery.error} onRetry={() => void gallery.refetch()} mb="md" />
          )}
          {gallery.isPending ? (
            <GallerySkeleton wide={wide} />
          ) : models.length > 0 ? (
            <div className={classes.models} data-stale={gallery.isPlaceholderData || undefined}>
              <Models models={models} onEdit={setEditing} />
              {gallery.hasNextPage && (
                <div className={classes.more}>
                  <Button variant="default" loading={gallery.isFetchingNextPage} onClick={() => void gallery.fetchNextPage()}>
                    Load more ({formatNumber((first?.total ?? 0) - models.length)} left)
                  </Button>
                </div>
              )}
            </div>
          ) : (
            gallery.isSuccess && (narrowed ? <NothingFound onClear={clear} /> : <NoModels />)
          )}
        </div>
      </div>

      <Drawer opened={filtersOpen} onClose={filters.close} title="Filters" position="right" size="xs" closeButtonProps={{ 'aria-label': 'Close' }}>
        {facets}
      </Drawer>
      <EditDialog model={editing} onClose={() => setEditing(null)} />
    </>
  );
}

/** The gallery's part of the address; a dialog that is open over it is none. */
function gallerySearch({ import: _, versionOf: __, ...search }: GallerySearch & { import?: string; versionOf?: string }): GallerySearch {
  return search;
}

/**
 * Keeps what is being typed for itself, and passes it on when the typing rests. A value that comes from elsewhere
 * (cleared, or another address) takes its place; its own, coming back late, does not.
 */
function SearchField({ value, onChange }: { value: string; onChange: (text: string) => void }) {
  const [text, setText] = useState(value);
  const [passed, setPassed] = useState(value);
  const [seen, setSeen] = useState(value);
  const passOn = useDebouncedCallback((typed: string) => {
    setPassed(typed);
    onChange(typed);
  }, SEARCH_DELAY_MS);
  if (value !== seen) {
    setSeen(value);
    if (value !== passed) setText(value);
  }
  return (
    <TextInput
      type="search"
      aria-label="Search models"
      placeholder="Search by name"
      leftSection={<IconSearch size={17} aria-hidden />}
      value={text}
      onChange={(event) => {
        setText(event.currentTarget.value);
        passOn(event.currentTarget.value.trim());
      }}
      className={classes.search}
    />
  );
}

function NoModels() {
  return (
    <div className={classes.empty}>
      <EmptyState
        title="Hang the first model"
        action={
          <LinkButton to="." search={(current) => ({ ...current, import: 'base' as const })} leftSection={<IconPlus size={18} aria-hidden />}>
            Import model
          </LinkButton>
        }
      >
        Import the archive of a Hugging Face model. Loggia checks it, reads its card, and then you can deploy it.
      </EmptyState>
    </div>
  );
}

function NothingFound({ onClear }: { onClear: () => void }) {
  return (
    <div className={classes.empty}>
      <EmptyState
        title="No model matches"
        action={
          <Button variant="default" onClick={onClear}>
            Clear search and filters
          </Button>
        }
      >
        Try fewer words, or take a filter away.
      </EmptyState>
    </div>
  );
}
