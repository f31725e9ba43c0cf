/** Temporary. */
export const as = (owner: string | undefined): Record<string, string> =>
  owner === undefined ? {} : { 'x-test-owner': Buffer.from(owner).toString('base64url') };
