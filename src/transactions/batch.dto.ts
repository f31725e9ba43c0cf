import { IsOptionalField, IsWord } from '../http/validation/field-rules.js';

/** POST /transactions/batch */
export class BatchQueryDto {
  @IsOptionalField()
  @IsWord(['true', 'false'])
  atomic?: string;
}
