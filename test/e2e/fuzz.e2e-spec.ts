import { afterEach, describe, expect, it } from '@jest/globals';
import { fuzz } from '../../tools/fuzz/fuzz.js';
import { OpenApiContract } from '../../tools/fuzz/contract.js';
import { createEmptyTestDatabase, type TestDatabase } from '../support/postgres.js';

/** A sample of `npm run fuzz`, always the same. */
const REQUESTS = 2_500;
const SEED = 5;

describe('requests generated from openapi.json', () => {
  let database: TestDatabase | undefined;
  afterEach(() => database?.drop());

  it(`get only answers that the document allows, and leave clean books (${REQUESTS} of them)`, async () => {
    database = await createEmptyTestDatabase('fuzz');
    const { attack, failures } = await fuzz({ databaseUrl: database.url, requests: REQUESTS, seed: SEED });
    expect(failures).toEqual([]);
    expect(attack.sent).toBeGreaterThanOrEqual(REQUESTS);
    expect(attack.books.accepted).toBeGreaterThan(REQUESTS / 10);
    expect(attack.reachedLedger).toBeGreaterThan(REQUESTS / 4);
    expect(attack.byStatus.get(400)).toBeGreaterThan(REQUESTS / 10);
    // Each operation was called, and so were paths that are not operations.
    for (const { operation } of new OpenApiContract().routes) {
      expect(attack.byOperation.get(operation.operationId)).toBeGreaterThan(10);
    }
    expect(attack.byOperation.get('nothing documented')).toBeGreaterThan(10);
    expect(attack.byStatus.get(405)).toBeGreaterThan(10);
    expect(attack.byStatus.get(415)).toBeGreaterThan(10);
    expect(attack.inAllForms).toBeGreaterThan(REQUESTS / 50);
  }, 120_000);
});
