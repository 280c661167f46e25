import { describe, expect, it } from 'vitest';
import { figures, NO_SAMPLING, requestBody, type Message } from './conversation';

function message(role: Message['role'], text: string, state: Message['state'] = 'complete'): Message {
  return { id: text, role, text, state, figures: null, finishReason: null, failure: null };
}

describe('requestBody', () => {
  it('leaves to the deployment what the person left empty', () => {
    expect(requestBody('tiny', [message('user', 'Hi')], NO_SAMPLING, true)).toEqual({
      model: 'tiny',
      messages: [{ role: 'user', content: 'Hi' }],
      stream: true,
      stream_options: { include_usage: true },
    });
  });

  it('sends parameters, a zero included, and the system message first', () => {
    const sampling = { ...NO_SAMPLING, system: ' Be brief. ', temperature: 0 };
    expect(requestBody('tiny', [message('user', 'Hi')], sampling, true)).toMatchObject({
      temperature: 0,
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Hi' },
      ],
    });
  });

  it('keeps stopped answers in the conversation, but neither failed ones nor their questions', () => {
    const history = [
      message('user', 'a'),
      message('assistant', 'b', 'stopped'),
      message('user', 'c'),
      message('assistant', '', 'failed'),
      message('user', 'd'),
    ];
    expect(requestBody('tiny', history, NO_SAMPLING, true)).toMatchObject({
      messages: [{ content: 'a' }, { content: 'b' }, { content: 'd' }],
    });
  });

  it('continues the last text of a model without a chat template', () => {
    const body = requestBody('tiny', [message('user', 'a'), message('user', 'Once')], NO_SAMPLING, false);
    expect(body).toMatchObject({ prompt: 'Once' });
    expect(body).not.toHaveProperty('messages');
  });
});

describe('figures', () => {
  it('counts the speed from the first token on', () => {
    expect(figures(1000, 1500, 3500, 21)).toEqual({ firstTokenMs: 500, tokens: 21, tokensPerSecond: 10 });
  });

  it('names no speed before there is one', () => {
    expect(figures(1000, null, 1200, 0)).toEqual({ firstTokenMs: null, tokens: 0, tokensPerSecond: null });
    expect(figures(1000, 1200, 1200, 1).tokensPerSecond).toBeNull();
  });
});
