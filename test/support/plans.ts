import { expect, jest } from '@jest/globals';
import { Client, type QueryConfig } from 'pg';

export interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Index Name'?: string;
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly 'Rows Removed by Filter'?: number;
  readonly 'Shared Hit Blocks': number;
  readonly 'Shared Read Blocks': number;
  readonly Plans?: PlanNode[];
}

/** The plan of the one statement on a table that some work sends; its first node is the top. */
export async function planOf(
  client: Client,
  table: string,
  work: () => Promise<unknown>,
): Promise<readonly PlanNode[]> {
  const plans = await plansOfEach(client, table, work);
  expect(plans).toHaveLength(1);
  return plans.flat();
}

/** The plans of all statements on a table that some work sends. */
export const plansOf = async (...asked: Parameters<typeof planOf>): Promise<readonly PlanNode[]> =>
  (await plansOfEach(...asked)).flat();

async function plansOfEach(
  client: Client,
  table: string,
  work: () => Promise<unknown>,
): Promise<readonly PlanNode[][]> {
  const asked = jest.spyOn(Client.prototype, 'query');
  await work();
  const statements = (asked.mock.calls as unknown[][])
    .map(([text, values]) => (typeof text === 'string' ? { text, values } : (text as QueryConfig)))
    .filter(({ text }) => text.includes(table));
  asked.mockRestore();
  const plans: PlanNode[][] = [];
  for (const { text, values } of statements as QueryConfig[]) {
    const explained = await client.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
      `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${text}`,
      values,
    );
    plans.push(explained.rows.flatMap((row) => nodesFrom(row['QUERY PLAN'][0].Plan)));
  }
  return plans;
}

const nodesFrom = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(nodesFrom)];

export const rowsRead = (nodes: readonly PlanNode[]) =>
  nodes
    .filter((node) => node['Relation Name'] !== undefined)
    .reduce(
      (sum, node) =>
        sum + (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0)) * node['Actual Loops'],
      0,
    );

export const blocksRead = ([top]: readonly PlanNode[]) =>
  (top?.['Shared Hit Blocks'] ?? 0) + (top?.['Shared Read Blocks'] ?? 0);

export const kindsOf = (nodes: readonly PlanNode[]) => new Set(nodes.map((node) => node['Node Type']));
