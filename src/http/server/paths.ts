import type { FastifyInstance, FastifyRequest } from 'fastify';
import FindMyWay from 'find-my-way';
import type { Config } from '../../config/config.js';
import { isOnManagementOnly } from './management.js';
import { isNeedlessFile } from './swagger-ui.js';

/** The path exists, but not with this method. */
export class MethodNotAllowedError extends Error {
  /** @param allow the value of the header field `Allow` */
  constructor(readonly allow: string) {
    super('Method not allowed');
    this.name = 'MethodNotAllowedError';
  }
}

/** A path, as it was registered, and its methods. */
interface KnownPath {
  readonly url: string;
  readonly methods: Set<string>;
}

/**
 * The paths of the service and the methods of each. The server's own router has a tree for each method, so it can't
 * tell a path that does not exist from one without the method.
 */
export class Paths {
  private readonly router;
  private readonly known = new Map<string, KnownPath>();
  /** The texts between the slashes of all paths, one of which is empty. */
  private readonly segments = new Set<string>();

  /** Call it before the routes are made. @param options those of the server's own router */
  constructor(
    fastify: FastifyInstance,
    options: { readonly maxParamLength: number },
    private readonly config: Pick<Config, 'management'>,
  ) {
    this.router = FindMyWay(options);
    fastify.addHook('onRoute', ({ url, method }) => {
      // The plugin for CORS has a route for every path, which answers preflight requests.
      if (url !== '*') this.add(url, [method].flat());
    });
  }

  /**
   * Whether a request may be for a path or a method that does not exist: the router found no route, or one for all
   * files of a folder, or one whose parameter is empty (`/accounts//balance`) or a part of another path
   * (`GET /transactions/batch`).
   */
  isDoubtful({ is404, params }: FastifyRequest): boolean {
    if (is404) return true;
    const values = params as Readonly<Record<string, string>>;
    for (const name in values) if (name === '*' || this.segments.has(values[name] ?? '')) return true;
    return false;
  }

  /** The methods of a request's path, in alphabetical order; undefined: the path does not exist. */
  methodsOf(request: FastifyRequest): readonly string[] | undefined {
    const target = request.raw.url ?? '';
    // RFC 9110, 9.3.7: it asks about the service as a whole.
    if (request.originalUrl === '*' && request.method === 'OPTIONS') return listed([...this.known.values()]);
    const found = this.router.find('GET', target);
    if (!found || Object.values(found.params).includes('')) return undefined;
    const path = found.store as KnownPath;
    if (isNeedlessFile(path.url, found.params['*'])) return undefined;
    return isOnManagementOnly(path.url, request, this.config) ? undefined : listed([path]);
  }

  private add(url: string, methods: readonly string[]): void {
    let path = this.known.get(url);
    if (!path) {
      path = { url, methods: new Set() };
      this.known.set(url, path);
      // One tree for all methods, so that the nearest path is found whatever its method.
      this.router.on('GET', url, () => undefined, path);
      for (const segment of url.split('/')) this.segments.add(segment);
    }
    for (const method of methods) path.methods.add(method);
  }
}

function listed(paths: readonly KnownPath[]): string[] {
  return [...new Set(['OPTIONS', ...paths.flatMap(({ methods }) => [...methods])])].sort();
}
