import { Alert, Button, Group } from '@mantine/core';
import { CopyButton } from '@/components/copy-button';
import { formatNumber } from '@/lib/format';
import classes from './chat-message.module.css';
import type { Figures, Message } from './conversation';

interface ChatMessageProps {
  message: Message;
  name: string;
  /** Given for the last answer only. */
  onRetry?: () => void;
}

export function ChatMessage({ message, name, onRetry }: ChatMessageProps) {
  const { role, text, state, failure } = message;
  if (role === 'user') {
    return (
      <div className={classes.question}>
        <span className={classes.hidden}>You said: </span>
        {text}
      </div>
    );
  }
  return (
    <div className={classes.answer}>
      <div className={classes.name}>{name}</div>
      {(text !== '' || state === 'streaming') && (
        <div className={classes.text} data-streaming={state === 'streaming'}>
          {text}
        </div>
      )}
      {text === '' && (state === 'stopped' || state === 'complete') && (
        <p className={classes.note}>{state === 'stopped' ? 'Stopped before the first token.' : 'The model ended its answer at once.'}</p>
      )}
      {failure !== null && (
        <Alert color="red" title={failure.reason}>
          {failure.remedy}
        </Alert>
      )}
      <div className={classes.foot}>
        <Speed message={message} />
        {onRetry && (
          <Group gap={2} className={classes.tools}>
            {text !== '' && <CopyButton value={text} what="answer" />}
            <Button variant="subtle" size="compact-sm" color="gray" onClick={onRetry}>
              {failure === null ? 'Answer again' : 'Send again'}
            </Button>
          </Group>
        )}
      </div>
    </div>
  );
}

function Speed({ message: { figures, state, finishReason } }: { message: Message }) {
  const parts = figures === null ? [] : describe(figures);
  if (state === 'stopped') parts.push('stopped by you');
  if (finishReason === 'length') parts.push('ended at the maximum length');
  return <span className={classes.figures}>{parts.join(' · ')}</span>;
}

function describe({ firstTokenMs, tokens, tokensPerSecond }: Figures): string[] {
  return [
    firstTokenMs !== null && `first token after ${duration(firstTokenMs)}`,
    tokensPerSecond !== null && `${tokensPerSecond.toFixed(1)} tokens/s`,
    tokens > 0 && `${formatNumber(tokens)} ${tokens === 1 ? 'token' : 'tokens'}`,
  ].filter((part) => part !== false);
}

function duration(milliseconds: number): string {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
