/** How far a listener has come in the log of one shard. */
export interface Place {
  /** All rows before this one have been sent. */
  readonly position: number;
  /** How many events of the row itself have been sent; undefined: all of them. */
  readonly events?: number;
}

/** Where a listener has come to in each shard; undefined: the shard has not answered yet. */
export type Places = readonly (Place | undefined)[];

const PLACE = /^(0|[1-9]\d{0,15})(?:\.([1-9]\d{0,4}))?$/;
const UNKNOWN = '-';

/** As the id of an event. */
export const writePlaces = (places: Places): string => places.map(writePlace).join();

function writePlace(place: Place | undefined): string {
  if (!place) return UNKNOWN;
  return place.events === undefined ? String(place.position) : `${place.position}.${place.events}`;
}

/** Undefined: the text is no id of an event of a bank with so many shards. */
export function readPlaces(text: string, shards: number): Places | undefined {
  const parts = text.split(',');
  if (parts.length !== shards) return undefined;
  const places: (Place | undefined)[] = [];
  for (const part of parts) {
    const [, position, events] = PLACE.exec(part) ?? [];
    if (part === UNKNOWN) places.push(undefined);
    else if (position === undefined || !Number.isSafeInteger(Number(position))) return undefined;
    else places.push({ position: Number(position), ...(events !== undefined && { events: Number(events) }) });
  }
  return places;
}

/** The position after which a listener at this place reads on. */
export const readFrom = ({ position, events }: Place): number =>
  events === undefined ? position : position - 1;

/** How many of a row's events a listener has got. */
export function sentOf(position: number, place: Place): number {
  if (position > place.position) return 0;
  return position < place.position ? Infinity : (place.events ?? Infinity);
}
