import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, type CompletionContext, type CompletionResult } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { json, jsonParseLinter } from '@codemirror/lang-json';
import { bracketMatching, HighlightStyle, indentOnInput, syntaxHighlighting } from '@codemirror/language';
import { linter, type Diagnostic } from '@codemirror/lint';
import { EditorState, type Extension } from '@codemirror/state';
import { drawSelection, EditorView, keymap, lineNumbers } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { useEffect, useEffectEvent, useRef } from 'react';
import { placeAt, rangeOf } from './json-places';
import classes from './json-editor.module.css';
import { pointerPath, schemaAt, valuesOf, type JsonSchema } from '@/lib/json-schema';

export interface JsonEditorProps {
  label: string;
  value: string;
  onChange: (text: string) => void;
  /** Completes while the person types; null where anything may stand. */
  schema: JsonSchema | null;
  /** Says what is wrong with a text that is JSON. Keep it stable. */
  check?: (text: string) => Promise<Fault[]>;
}

export interface Fault {
  /** JSON pointer of the place. */
  pointer: string;
  message: string;
  remedy: string;
}

const LINT_DELAY_MS = 400;
const COLOURS = HighlightStyle.define([
  { tag: tags.propertyName, color: 'var(--loggia-accent)' },
  { tag: tags.string, color: 'var(--loggia-good)' },
  { tag: [tags.number, tags.bool, tags.null], color: 'var(--loggia-active)' },
]);

/** A JSON document with completion and errors in their place. Tab leaves it; Ctrl+Space completes. */
export default function JsonEditor({ label, value, onChange, schema, check }: JsonEditorProps) {
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(null);
  const first = useRef(value);
  const changed = useEffectEvent((text: string) => onChange(text));

  useEffect(() => {
    if (place.current === null) return;
    const editor = new EditorView({
      parent: place.current,
      state: EditorState.create({
        doc: view.current?.state.doc ?? first.current,
        extensions: [
          ...STEADY,
          linter(diagnose(check), { delay: LINT_DELAY_MS }),
          autocompletion({ override: [complete(schema)], icons: false }),
          EditorView.contentAttributes.of({ 'aria-label': label }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) changed(update.state.doc.toString());
          }),
        ],
      }),
    });
    view.current = editor;
    return () => editor.destroy();
  }, [label, schema, check]);

  // A text that comes from elsewhere, such as a file, takes the place of what stands there.
  useEffect(() => {
    const editor = view.current;
    if (editor === null || editor.state.doc.toString() === value) return;
    editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: value } });
  }, [value]);

  return <div ref={place} className={classes.root} />;
}

const STEADY: Extension[] = [
  lineNumbers(),
  history(),
  drawSelection(),
  indentOnInput(),
  bracketMatching(),
  closeBrackets(),
  EditorView.lineWrapping,
  json(),
  syntaxHighlighting(COLOURS),
  keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...completionKeymap]),
];

function diagnose(check: JsonEditorProps['check']) {
  const parse = jsonParseLinter();
  return async (view: EditorView): Promise<Diagnostic[]> => {
    const text = view.state.doc.toString();
    if (text.trim() === '') return [];
    const broken = parse(view);
    if (broken.length > 0 || check === undefined) return broken;
    const faults = await check(text);
    return faults.map(({ pointer, message, remedy }) => ({
      ...rangeOf(view.state, pointerPath(pointer)),
      severity: 'error',
      message: `${message} ${remedy}`,
    }));
  };
}

function complete(root: JsonSchema | null) {
  return (context: CompletionContext): CompletionResult | null => {
    if (root === null) return null;
    const place = placeAt(context.state, context.pos);
    if (place === null || (!context.explicit && place.from === context.pos)) return null;
    if (place.kind === 'name') {
      const schema = schemaAt(root, place.path);
      return {
        from: place.from,
        to: place.to,
        options: Object.entries(schema?.properties ?? {})
          .filter(([name]) => !place.present.includes(name))
          .map(([name, property]) => ({
            // With its quotes, since what was typed has them too.
            label: `"${name}"`,
            displayLabel: name,
            apply: place.named ? `"${name}"` : `"${name}": `,
            type: 'property',
            ...(property.description !== undefined && { info: property.description }),
          })),
      };
    }
    const schema = schemaAt(root, place.path);
    return schema === null
      ? null
      : { from: place.from, to: place.to, options: valuesOf(schema).map((value) => ({ label: value, type: 'enum' })) };
  };
}

