import fastify from 'fastify';

/** The cost of HTTP alone on this machine: a bare Fastify that answers a small constant JSON. */
const server = fastify();
server.get('/accounts/:accountId/balance', () => ({ balance: 350.0, version: 12 }));
server.post('/accounts/:accountId/transactions', (_request, reply) =>
  reply.status(201).send({ id: 'txn131' }),
);
await server.listen({ host: '127.0.0.1', port: Number(process.env.PORT) });
