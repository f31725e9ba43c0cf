import Sequencer from '@jest/test-sequencer';

/** The slowest test files, most of them small. Any of these, started last, would leave all other workers idle. */
const LONGEST = [
  'sabotage',
  'rabbitmq',
  'documents',
  'swagger-ui',
  'embedded-postgres',
  'chaos',
  'cli',
  'shards',
  'shard-move',
  'submissions',
  'overload',
  'workers',
  'other-programs',
  'slow-clients',
  'service',
  'backup',
  'stack',
  'verify',
  'fuzz',
];

/** Starts the slowest files first. Until jest has measured them on this machine, it sorts by size. */
export default class LongestFirst extends Sequencer {
  sort(tests) {
    const rank = ({ path }) => {
      const place = LONGEST.findIndex((name) => path.includes(`/${name}.`));
      return place < 0 ? LONGEST.length : place;
    };
    return super.sort(tests).sort((one, other) => rank(one) - rank(other));
  }
}
