import { describe, expect, it } from '@jest/globals';
import { forbidden, requireScope } from './access-errors.js';
import { MOVEMENT_SCOPES, principalOf, SCOPES } from './principal.js';

/** Which ways a credential may move money. */
function movementsOf(owner: string | undefined, ...scopes: string[]): string[] {
  const principal = principalOf('key:1', owner, scopes);
  return (['credit', 'debit'] as const).filter((type) => !forbidden(principal, MOVEMENT_SCOPES[type]));
}

describe('what moves money', () => {
  it.each([
    ['deposits:write', ['credit']],
    ['withdrawals:write', ['debit']],
    ['accounts:write', []],
    ['transactions:read', []],
    ['admin', ['credit', 'debit']],
  ])('%s: %p, with an owner and without', (scope, movements) => {
    expect(movementsOf('ada', scope)).toEqual(movements);
    expect(movementsOf(undefined, scope)).toEqual(movements);
  });

  it('transactions:write stands for both ways, with an owner for withdrawals only', () => {
    expect(movementsOf(undefined, 'transactions:write')).toEqual(['credit', 'debit']);
    expect(movementsOf('ada', 'transactions:write')).toEqual(['debit']);
    expect(movementsOf('', 'transactions:write')).toEqual(['debit']);
    expect(movementsOf('ada', 'transactions:write', 'deposits:write')).toEqual(['credit', 'debit']);
  });
});

describe('principalOf', () => {
  it.each(['transactions:write', 'withdrawals:write', 'deposits:write'])(
    '%s does not let a sender transfer',
    (scope) => {
      for (const owner of ['ada', undefined]) {
        expect(forbidden(principalOf('key:1', owner, [scope]), 'transfers:write')).toMatchObject({
          scope: 'transfers:write',
        });
      }
    },
  );

  it('accounts:manage counts for nothing with an owner, even an empty one', () => {
    const scopes = ['accounts:manage', 'transfers:write'];
    for (const owner of ['ada', '']) {
      expect(principalOf('user:ada', owner, scopes).scopes).toEqual(new Set(['transfers:write']));
    }
    expect(principalOf('key:1', undefined, scopes).scopes).toEqual(new Set(scopes));
  });

  it('ignores unknown scopes; admin means every scope, and no owner', () => {
    expect(principalOf('user:ada', 'ada', ['openid', 'DEPOSITS:WRITE', 'deposits']).scopes).toEqual(
      new Set(),
    );
    expect(principalOf('user:ada', 'ada', ['openid', 'admin'])).toEqual({
      id: 'user:ada',
      owner: undefined,
      scopes: new Set(SCOPES),
    });
  });
});

describe('requireScope', () => {
  it('throws what names the scope that is missing', () => {
    const principal = principalOf('key:1', 'ada', ['transactions:write']);
    requireScope(principal, 'withdrawals:write');
    expect(() => requireScope(principal, 'deposits:write')).toThrow(
      expect.objectContaining({ name: 'ForbiddenError', scope: 'deposits:write' }),
    );
  });
});
