import { Column, Entity, PrimaryColumn } from 'typeorm';
import { bigintColumn } from './columns.js';

/** How far a receiver of events has come in the log of its shard; and, as receiver `log`, the end of the log. */
@Entity('event_cursors')
export class EventCursorEntity {
  @PrimaryColumn({ type: 'varchar', length: 32, primaryKeyConstraintName: 'event_cursors_pkey' })
  receiver!: string;

  /** All rows up to here have arrived, but for what `state` says. */
  @Column({ type: 'bigint', transformer: bigintColumn })
  position!: number;

  /** What else a receiver has to remember, as JSON. */
  @Column({ type: 'text', nullable: true })
  state!: string | null;

  /** Single events that it is to get again, each as `<position>.<index>` in the log. */
  @Column({ type: 'text', array: true, default: () => "'{}'" })
  requested!: string[];
}
