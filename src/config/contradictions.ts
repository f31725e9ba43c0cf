import { describeShard } from './shard-address.js';
import { RENAMED, type Variables } from './variables.js';

/**
 * Problems between variables that are each valid by themselves.
 *
 * @param env the valid variables
 * @param isSet whether a variable is set, valid or not
 */
export function contradictions(
  env: Partial<Variables>,
  isSet: (name: keyof Variables | keyof typeof RENAMED) => boolean,
): string[] {
  return [
    ...formerNames(env, isSet),
    ...listenerProblems(env, isSet),
    ...accessProblems(env, isSet),
    ...workerProblems(env, isSet),
    ...shardProblems(env, isSet),
  ];
}

type Check = typeof contradictions;

const formerNames: Check = (_, isSet) =>
  (Object.keys(RENAMED) as (keyof typeof RENAMED)[])
    .filter(isSet)
    .map((former) => `${former} must not be set any more: it is called ${RENAMED[former]} now`);

const listenerProblems: Check = ({ PORT, MANAGEMENT_PORT }, isSet) => {
  const problems: string[] = [];
  if (isSet('TLS_CERT_FILE') !== isSet('TLS_KEY_FILE')) {
    const [set, missing] = isSet('TLS_CERT_FILE')
      ? ['TLS_CERT_FILE', 'TLS_KEY_FILE']
      : ['TLS_KEY_FILE', 'TLS_CERT_FILE'];
    problems.push(`${set} must not be set without ${missing}: TLS needs both`);
  }
  if (MANAGEMENT_PORT !== undefined && MANAGEMENT_PORT !== 0 && MANAGEMENT_PORT === PORT) {
    problems.push('MANAGEMENT_PORT must not be PORT: it is a second one');
  }
  return problems;
};

const accessProblems: Check = ({ AUTH, NODE_ENV }, isSet) => {
  const problems: string[] = [];
  const provider = ['JWT_ISSUER', 'JWT_AUDIENCE', 'JWT_JWKS_URL'] as const;
  const missing = provider.filter((name) => !isSet(name));
  if (missing.length > 0 && missing.length < provider.length) {
    problems.push(`${missing.join(' and ')} must be set, too: tokens need ${provider.join(', ')}`);
  }
  if (AUTH === 'off' && missing.length < provider.length) {
    problems.push('AUTH must not be off with an identity provider: its tokens would not be looked at');
  }
  if (AUTH === 'off' && NODE_ENV === 'production') {
    problems.push('AUTH must not be off with NODE_ENV=production: everybody could do everything');
  }
  return problems;
};

/** To a client the workers are one server, so whatever each would know or count by itself needs Redis. */
const workerProblems: Check = (env, isSet) => {
  if ((env.WORKERS ?? 1) === 1 || isSet('REDIS_URL')) return [];
  const problems: string[] = [];
  if (env.BALANCE_CACHE === 'on') {
    problems.push(
      'BALANCE_CACHE must not be on with several WORKERS without REDIS_URL: none sees what the others write',
    );
  }
  if ((env.RATE_LIMIT_TRANSACTIONS_PER_SECOND ?? 0) > 0) {
    problems.push(
      'RATE_LIMIT_TRANSACTIONS_PER_SECOND must not be set with several WORKERS without REDIS_URL: each would count ' +
        'for itself',
    );
  }
  return problems;
};

const shardProblems: Check = ({ SHARDS, MIGRATION_SHARDS, DATABASE_URL }, isSet) => {
  const problems: string[] = [];
  if (SHARDS && DATABASE_URL !== undefined) {
    problems.push('SHARDS must not be set beside DATABASE_URL: each names the bank');
  }
  if (isSet('MIGRATION_DATABASE_URL') && !isSet('DATABASE_URL')) {
    problems.push('MIGRATION_DATABASE_URL must not be set without DATABASE_URL');
  }
  if (SHARDS && new Set(SHARDS.map(describeShard)).size < SHARDS.length) {
    problems.push('SHARDS must not name a shard twice');
  }
  const schemasOf = (shards: Variables['SHARDS']) => shards?.map(({ schema }) => schema).join();
  if (isSet('MIGRATION_SHARDS') && !isSet('SHARDS')) {
    problems.push('MIGRATION_SHARDS must not be set without SHARDS');
  } else if (SHARDS && MIGRATION_SHARDS && schemasOf(SHARDS) !== schemasOf(MIGRATION_SHARDS)) {
    problems.push('MIGRATION_SHARDS must name the same schemas as SHARDS, in the same order');
  }
  return problems;
};
