import { json } from '@codemirror/lang-json';
import { EditorState } from '@codemirror/state';
import { describe, expect, it } from 'vitest';
import { placeAt, rangeOf } from './json-places';

function state(doc: string): EditorState {
  return EditorState.create({ doc, extensions: [json()] });
}

/** The place where `|` stands in the text. */
function place(marked: string) {
  const pos = marked.indexOf('|');
  return placeAt(state(marked.replace('|', '')), pos);
}

describe('placeAt', () => {
  it('is a name inside of an object, without those that stand there already', () => {
    expect(place('{"port": 1, |}')).toMatchObject({ kind: 'name', path: [], present: ['port'] });
    expect(place('{"port": 1, "he|"}')).toMatchObject({ kind: 'name', path: [], present: ['port'] });
    expect(place('{"apis": [{"path": "/"}, {|}]}')).toMatchObject({ kind: 'name', path: ['apis', 1], present: [] });
  });

  it('is a value after a name', () => {
    expect(place('{"apis": [{"method": "P|"}]}')).toMatchObject({ kind: 'value', path: ['apis', 0, 'method'] });
    expect(place('{"mode": |}')).toMatchObject({ kind: 'value', path: ['mode'] });
  });
});

describe('rangeOf', () => {
  const doc = '{"port": "x", "apis": [{"path": 1}]}';
  const text = (path: (string | number)[]) => {
    const { from, to } = rangeOf(state(doc), path);
    return doc.slice(from, to);
  };

  it('is the value that a path leads to, the name of an object, or the nearest above', () => {
    expect(text(['port'])).toBe('"x"');
    expect(text(['apis', 0, 'path'])).toBe('1');
    expect(text(['apis'])).toBe('"apis"');
    expect(text(['port', 'deeper'])).toBe('"x"');
    expect(text([])).toBe('{');
  });
});
