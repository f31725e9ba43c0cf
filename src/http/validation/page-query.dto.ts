import { IsString, MaxLength } from 'class-validator';
import type { FastifyRequest } from 'fastify';
import { accountIdOf } from './account-path.dto.js';
import { DEFAULT_LIMIT, MAX_LIMIT } from './cursor.js';
import { documentedAs, IsOptionalField, IsWholeNumber } from './field-rules.js';

/** A cursor contains the filters of its listing, of which texts have at most 255 characters of 4 bytes. */
export const MAX_CURSOR = 4_000;

/** The query of a listing: which page, and how many items. */
export class PageQueryDto {
  @IsOptionalField()
  @IsString({
    message: 'must be a cursor from a previous page',
    ...documentedAs({ description: 'The `nextCursor` of the page before.', type: 'string' }),
  })
  @MaxLength(MAX_CURSOR, { message: 'is too long', ...documentedAs({ maxLength: MAX_CURSOR }) })
  cursor?: string;

  @IsOptionalField()
  @IsWholeNumber(1, MAX_LIMIT, { description: 'The size of a page.', default: DEFAULT_LIMIT })
  limit: string = String(DEFAULT_LIMIT);
}

/** The requested page of a listing of an account. */
export interface Listing {
  readonly accountId: number;
  readonly cursor: string | undefined;
  readonly limit: number;
}

export const listingIn = (request: FastifyRequest, { cursor, limit }: PageQueryDto): Listing => ({
  accountId: accountIdOf(request),
  cursor,
  limit: Number(limit),
});
