/**
 * Loaded before the service (`node --import`). At each SIGUSR2 the wall clock jumps an hour forward or two back, like a
 * clock that is set by hand or by a bad NTP server. The service's own code is unchanged.
 */
const HOUR_MS = 3_600_000;
const RealDate = Date;
let offsetMs = 0;

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, newTarget) =>
    Reflect.construct(target, args.length === 0 ? [target.now() + offsetMs] : args, newTarget),
  get: (target, name) => (name === 'now' ? () => target.now() + offsetMs : Reflect.get(target, name, target)),
});

process.on('SIGUSR2', () => {
  offsetMs += offsetMs > 0 ? -2 * HOUR_MS : HOUR_MS;
});
