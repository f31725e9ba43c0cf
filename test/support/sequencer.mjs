import Sequencer from '@jest/test-sequencer';

/** The files that take longest, though most are short. Each of them, begun last, would leave all other workers idle. */
const LONGEST = [
  'sabotage',
  'rabbitmq',
  'embedded-postgres',
  'chaos',
  'cli',
  'shards',
  'shard-move',
  'overload',
  'workers',
  'slow-clients',
  'service',
  'backup',
  'stack',
  'verify',
  'fuzz',
];

/** Begins with the longest files: jest, until it has measured them on this machine, goes by their size. */
export default class LongestFirst extends Sequencer {
  sort(tests) {
    const rank = ({ path }) => {
      const place = LONGEST.findIndex((name) => path.includes(`/${name}.`));
      return place < 0 ? LONGEST.length : place;
    };
    return super.sort(tests).sort((one, other) => rank(one) - rank(other));
  }
}
