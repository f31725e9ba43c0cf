import { Field, json, plainText, Resource } from '../http/openapi/resource.js';
import { schema } from '../http/schema/registry.js';

@Resource('Liveness')
export class LivenessDto {
  @Field(plainText({ type: 'string', const: 'ok' })) readonly status = 'ok';
}

const PART = schema('PartHealth', {
  type: 'object',
  properties: { status: { type: 'string', enum: ['up', 'down'] }, message: { type: 'string' } },
  required: ['status'],
});

/** Parts of the service by name, such as `service` and `shard-0`. */
const parts = (description: string) =>
  json({
    description,
    type: 'object',
    additionalProperties: PART,
  });

@Resource('Readiness', {
  description: "On the service's own port only `status`, where there is a port for management.",
})
export class ReadinessDto {
  @Field(plainText({ type: 'string', enum: ['ok', 'degraded', 'error', 'shutting_down'] }))
  readonly status!: string;

  @Field(parts('What is up.'), { optional: true }) readonly info?: object;
  @Field(parts('What is down.'), { optional: true }) readonly error?: object;
  @Field(parts('All of them.'), { optional: true }) readonly details?: object;
}
