/**
 * Loaded before the service (`node --import`): its wall clock, which jumps an hour on or two back at each SIGUSR2, as a
 * clock that is set by hand or by a bad NTP server. The service's own code is as it is.
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
