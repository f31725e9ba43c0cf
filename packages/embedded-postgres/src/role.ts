import { type Client, type ClientBase, escapeIdentifier, escapeLiteral } from 'pg';
import { connectTo, rolePassword, type ServerAddress, superuserUrl } from './connection.js';

/** A new role has no other rights. Spelt out in case somebody else created a role of this name. */
const RIGHTS = 'LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS';

/**
 * Makes the role the owner of the database, with no other rights. The server's owner calls it at each start, before
 * anything else connects. One transaction, so it is safe to interrupt.
 *
 * @param prepare runs as the superuser in that transaction
 */
export async function settleRole(
  address: ServerAddress,
  prepare?: (client: ClientBase) => Promise<void>,
): Promise<void> {
  const client = await connectTo(superuserUrl(address));
  try {
    await client.query('BEGIN');
    await grantDatabase(client, address);
    await prepare?.(client);
    const { command } = await client.query('COMMIT');
    if (command !== 'COMMIT')
      throw new Error('`prepare` went on after a failed statement: nothing was committed');
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function grantDatabase(client: Client, address: ServerAddress): Promise<void> {
  const role = escapeIdentifier(address.role);
  const { rowCount } = await client.query('SELECT FROM pg_roles WHERE rolname = $1', [address.role]);
  if (rowCount === 0) await client.query(`CREATE ROLE ${role}`);
  await client.query(`ALTER ROLE ${role} ${RIGHTS} PASSWORD ${escapeLiteral(rolePassword(address))}`);
  // The owner of a database may create schemas in it.
  await client.query(`ALTER DATABASE ${escapeIdentifier(address.database)} OWNER TO ${role}`);
}
