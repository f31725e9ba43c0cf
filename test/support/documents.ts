import { spawn, type ChildProcess } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { marked, type Token, type Tokens } from 'marked';

/** A command of a console block, and the output that the document shows for it. */
export interface Example {
  readonly command: string;
  readonly output: string;
}

/** The fenced and the indented blocks of a document, also those in its lists. */
export function codeBlocks(markdown: string): Tokens.Code[] {
  const blocks: Tokens.Code[] = [];
  void marked.walkTokens(marked.lexer(markdown), (token: Token) => {
    if (token.type === 'code') blocks.push(token as Tokens.Code);
  });
  return blocks;
}

/** The commands of a console block. One goes on over a `\` at the end of its line, and over an open quote. */
export function examplesOf(block: string): Example[] {
  const examples: { command: string; output: string[] }[] = [];
  for (const line of block.split('\n')) {
    const last = examples.at(-1);
    if (last && last.output.length === 0 && isOpen(last.command)) last.command += `\n${line}`;
    else if (line.startsWith('$ ')) examples.push({ command: line.slice(2), output: [] });
    else if (last) last.output.push(line);
    else throw new Error(`a console block begins with a command, not with: ${line}`);
  }
  return examples.map(({ command, output }) => ({ command, output: output.join('\n') }));
}

function isOpen(command: string): boolean {
  return command.endsWith('\\') || /['"]/.test(command.replaceAll(/'[^']*'|"(?:\\[^]|[^"\\])*"/g, ''));
}

interface Kind {
  readonly form: RegExp;
  /** What the first example of a document that shows one prints there stands for it in all later examples. */
  readonly isKept?: true;
}

/** What an example shows, and each run prints differently. */
const VARYING: readonly Kind[] = [
  { form: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/, isKept: true },
  { form: /\b\d{13}\b/, isKept: true }, // a time in milliseconds
  { form: /\b[\da-f]{64}\b/, isKept: true }, // a hash
  { form: /\b[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\b/, isKept: true }, // the id of a bank
  { form: /\bbank_\w{49}\b/, isKept: true }, // an API key
  { form: /\bwhsec_[\w+/]{43}=/, isKept: true }, // the secret of a webhook
  { form: /\bbank_\w{4}…/, isKept: true }, // its beginning
  { form: /\b(?:txn|tr|hold)\d+\b/, isKept: true },
  { form: /\b\d+(?=:\d+:(?:credit|debit):)/ }, // the id in a hashed line
  { form: /\b127\.0\.0\.1:\d{5}\b/ }, // where an embedded PostgreSQL listens
  { form: /(?<= by )\S+(?= {2}\{)/ }, // who ran an administrative command
  { form: /\b\d+\.\d(?= (?:s|MB|[KM]iB)\b)/ },
  { form: /\b\d+(?= (?:ms|accounts\/s)\b)/ },
  { form: / {2,}/ }, // columns of a table are as wide as what they hold
];
/** Alone in a line: some lines are left out, maybe none; elsewhere, some of its line. */
const LINES_LEFT_OUT = /(?<=^|\n)…(?=\n|$)/;

const escape = (text: string) => text.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);

/** Somebody who follows a document in a fresh checkout: one shell, whose variables stay. */
export class Reader {
  private readonly folder = realpathSync(mkdtempSync(join(tmpdir(), 'reader-')));
  private readonly checkout = join(this.folder, 'bank');
  private readonly shell = join(this.folder, 'shell.env');
  /** What the document shows, and what it is in this run. */
  private readonly known: Map<string, string>;
  private readonly environment: NodeJS.ProcessEnv;

  /**
   * @param environment of the shell, in addition to PATH and the like
   * @param elsewhere the addresses of the document, and those that stand for them here
   */
  constructor(environment: Record<string, string>, elsewhere: Record<string, string>) {
    this.known = new Map([...Object.entries(elsewhere), ['/srv/bank', this.checkout]]);
    this.environment = {
      ...{ PATH: `${process.cwd()}/node_modules/.bin:${process.env.PATH}`, HOME: this.folder },
      ...{ CURL_HOME: this.folder, npm_config_update_notifier: 'false', ...environment },
      // `prestart` and `precli` would look each time whether the build, which is this one's, is up to date.
      npm_config_ignore_scripts: 'true',
    };
    mkdirSync(this.checkout);
    // Links: what is written lands in the new checkout, and its build is this one's. Settings and data stay here.
    for (const name of readdirSync('.').filter((name) => !['.env', '.git', '.data'].includes(name))) {
      symlinkSync(join(process.cwd(), name), join(this.checkout, name));
    }
    writeFileSync(join(this.folder, '.curlrc'), 'silent\nshow-error\n'); // as on a terminal
    writeFileSync(this.shell, '');
  }

  /** Starts a program in the checkout. */
  start(program: string, ...args: string[]): ChildProcess {
    return spawn(program, args, {
      ...{ cwd: this.checkout, env: this.environment, stdio: ['ignore', 'pipe', 'pipe'] },
    });
  }

  async run(command: string): Promise<{ readonly printed: string; readonly exitCode: number | null }> {
    const here = command.replaceAll(this.knownOnes(), (said) => this.known.get(said) ?? said);
    const script = [
      `exec 2>&1; set -a; . '${this.shell}'`,
      here,
      `exit_code=$?; export -p >'${this.shell}'; exit $exit_code`,
    ];
    const child = this.start('/bin/sh', '-c', script.join('\n'));
    let printed = '';
    child.stdout?.on('data', (data: Buffer) => (printed += data.toString()));
    const exitCode = await new Promise<number | null>((resolve) => child.once('close', resolve));
    // As a terminal shows it: the lines of a CSV end with a carriage return, too.
    return { printed: printed.trimEnd().replaceAll('\r\n', '\n'), exitCode };
  }

  /** Whether a run printed what the document says. Remembers what stands for what from then on. */
  isWhat(said: string, printed: string): boolean {
    const kept: string[] = [];
    let pattern = '';
    let at = 0;
    for (const { 0: token, index, groups } of said.matchAll(this.parts())) {
      pattern += escape(said.slice(at, index)) + this.patternOf(token, groups ?? {}, kept);
      at = index + token.length;
    }
    const match = new RegExp(`^${pattern}${escape(said.slice(at))}$`).exec(printed);
    kept.forEach((token, index) => this.known.set(token, match?.[index + 1] ?? token));
    return match !== null;
  }

  private patternOf(token: string, groups: Record<string, string | undefined>, kept: string[]): string {
    if (groups.known !== undefined) return escape(this.known.get(token) ?? token);
    if (groups.linesLeftOut !== undefined) return '[^]*?';
    if (groups.leftOut !== undefined) return '[^\\n]*?';
    if (kept.includes(token)) return `\\${kept.indexOf(token) + 1}`;
    const { form, isKept } = VARYING.find((_, index) => groups[`varying${index}`] !== undefined) as Kind;
    if (!isKept) return form.source;
    kept.push(token);
    return `(${form.source})`;
  }

  private parts(): RegExp {
    const varying = VARYING.map(({ form }, index) => `(?<varying${index}>${form.source})`);
    const known = `(?<known>${this.knownOnes().source})`;
    const leftOut = `(?<linesLeftOut>${LINES_LEFT_OUT.source})|(?<leftOut>…)`;
    return new RegExp([known, ...varying, leftOut].join('|'), 'g');
  }

  private knownOnes(): RegExp {
    return new RegExp(`(?<!\\w)(?:${[...this.known.keys()].map(escape).join('|')})(?!\\w)`, 'g');
  }

  /** What a run printed, as the document would say it. */
  inItsWords(printed: string): string {
    return [...this.known].reduce((text, [said, is]) => text.replaceAll(is, said), printed);
  }

  close(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
