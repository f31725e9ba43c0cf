import { Check, Column, Entity, PrimaryGeneratedColumn, Unique } from 'typeorm';
import { identityColumn } from './columns.js';

/** A service's credential. The key itself is nowhere: its SHA-256 is. In use on the bank's first shard alone. */
@Entity('api_keys')
@Check('api_keys_hash_check', `octet_length("hash") = 32`)
@Check('api_keys_admin_has_no_owner_check', `"owner" IS NULL OR NOT 'admin' = ANY ("scopes")`)
@Unique('unique_api_key_hash', ['hash'])
export class ApiKeyEntity {
  @PrimaryGeneratedColumn('identity', identityColumn('key_id', 'api_keys_pkey'))
  keyId!: number;

  @Column({ type: 'varchar', length: 100 })
  name!: string;

  /** The key's first characters, which let a person recognise it. */
  @Column({ type: 'varchar', length: 16 })
  hint!: string;

  @Column({ type: 'bytea' })
  hash!: Buffer;

  @Column({ type: 'text', array: true })
  scopes!: string[];

  /** SCOPES_VERSION when the key was created: what the names of its scopes meant then. */
  @Column({ name: 'scopes_version', type: 'smallint', default: 1 })
  scopesVersion!: number;

  /** The owner whose accounts the key may see and use; NULL: all accounts. */
  @Column({ type: 'varchar', length: 255, nullable: true })
  owner!: string | null;

  @Column({ name: 'created_at', type: 'timestamptz', precision: 3, default: () => 'now()' })
  createdAt!: Date;

  @Column({ name: 'expires_at', type: 'timestamptz', precision: 3, nullable: true })
  expiresAt!: Date | null;

  @Column({ name: 'revoked_at', type: 'timestamptz', precision: 3, nullable: true })
  revokedAt!: Date | null;

  /** Accurate to about a minute. */
  @Column({ name: 'last_used_at', type: 'timestamptz', precision: 3, nullable: true })
  lastUsedAt!: Date | null;
}
