import { ensureSyntaxTree, syntaxTree } from '@codemirror/language';
import type { EditorState } from '@codemirror/state';
import type { SyntaxNode } from '@lezer/common';

type Path = (string | number)[];

/**
 * What is being typed: the name of a property of the object at `path` (`named` where its colon stands already),
 * or the value at `path`.
 */
export type Place =
  | { kind: 'name'; path: Path; from: number; to: number; present: string[]; named: boolean }
  | { kind: 'value'; path: Path; from: number; to: number };

const PARSE_MS = 100;
const VALUES = new Set(['String', 'Number', 'True', 'False', 'Null', 'Object', 'Array']);

/** Where the cursor stands in the document; null outside of any object or value. */
export function placeAt(state: EditorState, pos: number): Place | null {
  let node: SyntaxNode | null = syntaxTree(state).resolveInner(pos, -1);
  const wordStart = pos - (/["\w$]*$/.exec(state.sliceDoc(Math.max(0, pos - 100), pos))?.[0].length ?? 0);
  if (node.name === 'PropertyName') {
    const owner = node.parent?.parent ?? null;
    const named = /^\s*:/.test(state.sliceDoc(node.to, node.to + 20));
    return owner && { kind: 'name', path: pathOf(state, owner), from: node.from, to: node.to, present: names(state, owner, node.parent), named };
  }
  while (node !== null && node.name !== 'Property' && node.name !== 'Object' && node.name !== 'Array') node = node.parent;
  if (node === null) return null;
  if (node.name === 'Property') {
    const value = child(node, VALUES);
    const from = value !== null && value.from <= pos ? value.from : wordStart;
    return { kind: 'value', path: pathOf(state, node), from, to: value?.to ?? pos };
  }
  if (node.name === 'Array') return null;
  return { kind: 'name', path: pathOf(state, node), from: wordStart, to: pos, present: names(state, node, null), named: false };
}

/** The part of the document that a path leads to, or the nearest one above it that exists. */
export function rangeOf(state: EditorState, path: readonly (string | number)[]): { from: number; to: number } {
  const tree = ensureSyntaxTree(state, state.doc.length, PARSE_MS) ?? syntaxTree(state);
  let value = child(tree.topNode, VALUES);
  let range = value === null ? { from: 0, to: 0 } : { from: value.from, to: value.from + 1 };
  for (const step of path) {
    if (value === null) break;
    const next: SyntaxNode | null =
      typeof step === 'number'
        ? (children(value, VALUES)[step] ?? null)
        : (children(value, new Set(['Property'])).find((property) => nameOf(state, property) === step) ?? null);
    if (next === null) break;
    const name = child(next, new Set(['PropertyName']));
    value = next.name === 'Property' ? child(next, VALUES) : next;
    range = value === null ? { from: next.from, to: next.to } : { from: value.from, to: value.to };
    // A whole object is too much to underline: its name says enough.
    if (name !== null && (value?.name === 'Object' || value?.name === 'Array')) range = { from: name.from, to: name.to };
  }
  return range;
}

function pathOf(state: EditorState, node: SyntaxNode): Path {
  const path: Path = [];
  for (let current: SyntaxNode | null = node; current !== null; current = current.parent) {
    if (current.name === 'Property') path.unshift(nameOf(state, current));
    else if (current.parent?.name === 'Array') {
      const { from } = current;
      path.unshift(children(current.parent, VALUES).findIndex((item) => item.from === from));
    }
  }
  return path;
}

function names(state: EditorState, object: SyntaxNode, except: SyntaxNode | null): string[] {
  return children(object, new Set(['Property']))
    .filter((property) => except === null || property.from !== except.from)
    .map((property) => nameOf(state, property));
}

function nameOf(state: EditorState, property: SyntaxNode): string {
  const name = child(property, new Set(['PropertyName']));
  if (name === null) return '';
  try {
    return String(JSON.parse(state.sliceDoc(name.from, name.to)));
  } catch {
    // Still being typed.
    return '';
  }
}

function child(node: SyntaxNode, kinds: ReadonlySet<string>): SyntaxNode | null {
  return children(node, kinds)[0] ?? null;
}

function children(node: SyntaxNode, kinds: ReadonlySet<string>): SyntaxNode[] {
  const found: SyntaxNode[] = [];
  for (let current = node.firstChild; current !== null; current = current.nextSibling) {
    if (kinds.has(current.name)) found.push(current);
  }
  return found;
}
