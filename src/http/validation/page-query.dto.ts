import { IsString, MaxLength } from 'class-validator';
import { DEFAULT_LIMIT, MAX_LIMIT } from './cursor.js';
import { IsOptionalField, IsWholeNumber } from './field-rules.js';

/** The query of a listing: which page, and how long a page. */
export class PageQueryDto {
  @IsOptionalField()
  @IsString({ message: 'must be a cursor from a previous page' })
  @MaxLength(200, { message: 'is too long' })
  cursor?: string;

  @IsOptionalField()
  @IsWholeNumber(1, MAX_LIMIT)
  limit: string = String(DEFAULT_LIMIT);
}
