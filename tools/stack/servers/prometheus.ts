import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '@scalable-banking/embedded-postgres';
import { newPlace, Server, started, type Place } from './server.js';

/** A series that a query has found. */
export interface Series {
  /** Its labels, and its name as `__name__`. */
  readonly metric: Readonly<Record<string, string>>;
}

/** A rule that is loaded. */
export interface Rule {
  readonly name: string;
  /** ok: it was evaluated without an error. */
  readonly health: 'ok' | 'err' | 'unknown';
}

/** A Prometheus that keeps nothing once it is stopped. */
export class PrometheusServer extends Server {
  constructor(place: Place, port: number) {
    super(place, port);
  }

  /** @throws Error what it says of a query that it refuses */
  async query(promQl: string): Promise<readonly Series[]> {
    const { result } = await this.get<{ result: Series[] }>(`query?query=${encodeURIComponent(promQl)}`);
    return result;
  }

  async rules(): Promise<readonly Rule[]> {
    const { groups } = await this.get<{ groups: { rules: Rule[] }[] }>('rules');
    return groups.flatMap(({ rules }) => rules);
  }

  private async get<T>(path: string): Promise<T> {
    const response = await fetch(`http://127.0.0.1:${this.port}/api/v1/${path}`);
    const answer = (await response.json()) as { readonly data: T; readonly error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.data;
  }

  protected command(): readonly string[] {
    const { folder } = this.place;
    return [
      '/usr/bin/prometheus',
      `--web.listen-address=127.0.0.1:${this.port}`,
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
    ];
  }

  protected async isReady(): Promise<boolean> {
    return (await fetch(`http://127.0.0.1:${this.port}/-/ready`)).ok;
  }
}

/** @param files the texts of prometheus.yml and of the files that it names, by name */
export async function startPrometheus(files: Readonly<Record<string, string>>): Promise<PrometheusServer> {
  const place = await newPlace('prometheus');
  for (const [name, text] of Object.entries(files)) await writeFile(join(place.folder, name), text);
  return started(new PrometheusServer(place, await freePort()));
}
