import { IsOptionalField, IsWord } from '../http/field-rules.js';

/** POST /transactions/batch */
export class BatchQueryDto {
  @IsOptionalField()
  @IsWord(['true', 'false'])
  atomic?: string;
}
