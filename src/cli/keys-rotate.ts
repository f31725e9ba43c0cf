import { Option, type Command } from 'commander';
import { noteIfKeysAreNotAsked, printKey } from './keys-create.js';
import { DEFAULT_OVERLAP, durationOption, expiryOptionOf, keyArgument } from './options.js';
import { withBank } from './session.js';

interface RotateOptions {
  readonly overlap: number;
  readonly expires?: Date;
  readonly json?: true;
}

export function addKeysRotate(keys: Command): void {
  keys
    .command('rotate')
    .description('make a key in the place of another, which ends a little later')
    .argument('<key>', 'the number of the old one', keyArgument)
    .addOption(
      new Option('--overlap <age>', 'how long the old one stays good')
        .argParser(durationOption)
        .default(durationOption(DEFAULT_OVERLAP), DEFAULT_OVERLAP),
    )
    .addOption(
      expiryOptionOf(
        'when the new one ends: a time, or an age like 90d (default: as the old one would have)',
      ),
    )
    .option('--json', 'print the key as JSON')
    .action((keyId: number, { overlap: overlapMs, expires, json }: RotateOptions) =>
      withBank('keys rotate', async ({ bank, config }) => {
        const { rotateKey } = await import('../admin/keys.js');
        printKey(await rotateKey(bank.shards, keyId, { overlapMs, expires }), json);
        noteIfKeysAreNotAsked(config);
      }),
    );
}
