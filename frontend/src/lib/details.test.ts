import { describe, expect, it } from 'vitest';
import { cleanDetails, detailsErrors, sameDetails } from './details';

const details = { description: 'A model', labels: ['one'], documentationLinks: ['https://example.org/'] };

describe('detailsErrors', () => {
  it('accepts what the server accepts', () => {
    expect(detailsErrors(details)).toEqual({});
    expect(detailsErrors({ ...details, documentationLinks: ['https://example.org/', ''] })).toEqual({});
  });

  it('marks the field that is wrong', () => {
    expect(Object.keys(detailsErrors({ ...details, labels: ['a', 'b', 'c', 'd', 'e', 'f'] }))).toEqual(['labels']);
    expect(Object.keys(detailsErrors({ ...details, description: 'x'.repeat(2001) }))).toEqual(['description']);
    expect(Object.keys(detailsErrors({ ...details, documentationLinks: ['https://a.org', 'javascript:alert(1)'] }))).toEqual([
      'documentationLinks.1',
    ]);
  });
});

describe('sameDetails', () => {
  it('does not count blanks and empty links as a change', () => {
    expect(sameDetails(details, { ...details, description: 'A model ', documentationLinks: ['https://example.org/', ' '] })).toBe(true);
    expect(cleanDetails({ ...details, labels: [' one ', ''] }).labels).toEqual(['one']);
  });
});
