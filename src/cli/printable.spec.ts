import { expect, it } from '@jest/globals';
import { eventsText } from './audit-list.js';
import { keysText } from './keys-list.js';

it('shows the text of a restored bank without letting it control the terminal', () => {
  const hostile = 'a\u001b[2J\r\u009bü';
  const shown = 'a\\u001b[2J\\u000d\\u009bü';
  const event = {
    eventId: 1,
    happenedAt: new Date(0),
    action: hostile,
    actor: hostile,
    details: hostile,
    hash: '',
  };
  expect(eventsText({ events: [event], firstBroken: undefined })).toBe(
    `1  1970-01-01T00:00:00.000Z  ${shown}  by ${shown}  ${shown}`,
  );
  const never = { expiresAt: null, revokedAt: null, lastUsedAt: null };
  const key = {
    keyId: 1,
    name: hostile,
    hint: hostile,
    scopes: [hostile],
    owner: hostile,
    createdAt: new Date(0),
  };
  expect(keysText([{ ...key, ...never }])).toBe(
    `1  ${shown}  ${shown}  ${shown}  ${shown}  good  never used`,
  );
});
