import { Resolver } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import { Agent, request } from 'undici';
import { messageOf as messageOfError } from '../../domain/error-message.js';
import type { BankMessage } from '../bank-event.js';
import { isPublicAddress } from './addresses.js';
import { deliveryHeaders } from './delivery-headers.js';
import { retryAfterMsOf } from './retry-policy.js';

export interface SenderSettings {
  /** Whether private, loopback and link-local addresses may be sent to. */
  readonly privateAddresses: boolean;
  /** Servers that are asked for names; undefined: those of this machine. */
  readonly dnsServers?: readonly string[];
  /** For a whole request, until the last byte of its answer. */
  readonly timeoutMs: number;
}

export interface Answer {
  /** Undefined: there was no answer. */
  readonly status: number | undefined;
  /** The beginning of its body, or why there was none. */
  readonly text: string;
  /** What it asks for; 0: nothing. */
  readonly retryAfterMs: number;
}

/** What is read of an answer. */
const MOST_ANSWER_BYTES = 1_024;
/** What is kept of it. */
const MOST_ANSWER_CHARACTERS = 300;
const CONNECT_TIMEOUT_MS = 5_000;
const DNS_TIMEOUT_MS = 2_000;
/** Connections to one origin: no more than requests can be on their way. */
const MOST_CONNECTIONS = 16;

/**
 * Sends events by HTTP. Follows no redirect. Where only public addresses are allowed, each connection is checked after
 * its name was resolved, so a name that leads to the inside is refused, also if it once led elsewhere.
 */
export class WebhookSender {
  private readonly agent: Agent;

  constructor(private readonly settings: SenderSettings) {
    this.agent = new Agent({
      connect: {
        // A request can't be given up while it is being connected.
        timeout: Math.min(CONNECT_TIMEOUT_MS, settings.timeoutMs),
        ...(settings.privateAddresses ? {} : { lookup: publicOnly(resolverOf(settings.dnsServers)) }),
      },
      connections: MOST_CONNECTIONS,
      pipelining: 1,
      keepAliveTimeout: 10_000,
    });
  }

  /** Never rejects. */
  async send(url: string, secrets: readonly string[], message: BankMessage): Promise<Answer> {
    const { timeoutMs, privateAddresses } = this.settings;
    const deadline = AbortSignal.timeout(timeoutMs);
    try {
      // No name is looked up for an address.
      const host = new URL(url).hostname.replace(/^\[|\]$/g, '');
      if (!privateAddresses && isIP(host) && !isPublicAddress(host)) throw new PrivateAddressError();
      const { statusCode, headers, body } = await request(url, {
        ...{ method: 'POST', body: message.body, dispatcher: this.agent },
        headers: deliveryHeaders(secrets, message, new Date()),
        signal: deadline,
      });
      const retryAfter = headers['retry-after'];
      return {
        status: statusCode,
        text: await beginningOf(body),
        retryAfterMs: retryAfterMsOf(typeof retryAfter === 'string' ? retryAfter : undefined, Date.now()),
      };
    } catch (error) {
      const text = deadline.aborted ? `no answer within ${timeoutMs / 1_000} s` : messageOfError(error);
      return { status: undefined, text: text.slice(0, MOST_ANSWER_CHARACTERS), retryAfterMs: 0 };
    }
  }

  close(): Promise<void> {
    return this.agent.destroy();
  }
}

class PrivateAddressError extends Error {
  constructor() {
    super('the address is not public');
  }
}

/** A body that is longer than what is read of it ends its connection. */
async function beginningOf(body: AsyncIterable<Buffer> & { destroy(): unknown }): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= MOST_ANSWER_BYTES) break;
  }
  const text = Buffer.concat(chunks).toString('utf8', 0, MOST_ANSWER_BYTES);
  // JSON would write each of them in six characters.
  return text.slice(0, MOST_ANSWER_CHARACTERS).replaceAll(/\p{Cc}/gu, ' ');
}

type Resolve = (hostname: string) => Promise<readonly string[]>;

/**
 * Asks DNS servers without getaddrinfo, which would occupy a thread of the process for as long as somebody's name server
 * does not answer.
 */
function resolverOf(servers: readonly string[] | undefined): Resolve {
  const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: 2 });
  if (servers) resolver.setServers(servers);
  return async (hostname) => {
    if (isIP(hostname)) return [hostname];
    const found = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)]);
    const addresses = found.flatMap((each) => (each.status === 'fulfilled' ? each.value : []));
    if (addresses.length === 0) throw new Error(`${hostname} has no address`);
    return addresses;
  };
}

function publicOnly(resolve: Resolve): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname)
      .then((addresses) => {
        const allowed = addresses.filter(isPublicAddress);
        const [first] = allowed;
        if (first === undefined) throw new PrivateAddressError();
        if (options.all)
          callback(
            null,
            allowed.map((address) => ({ address, family: isIP(address) })),
          );
        else callback(null, first, isIP(first));
      })
      .catch((error: unknown) => callback(error as NodeJS.ErrnoException, '', 0));
  };
}
