// The host's log, clock and random numbers, live in every request. (Math.random and Date.now
// would import what no host has.)

import { bytesOf, cut } from "./abi";

// @ts-ignore: decorator
@external("bulkhead:log/v1", "write")
declare function hostWrite(level: i32, at: usize, n: u32): void;
// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "clock_time_get")
declare function hostClock(id: u32, precision: u64, at: usize): u32;
// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "random_get")
declare function hostRandom(at: usize, n: u32): u32;

/** Writes one record to the host's log. It is cut at 8 KiB. */
export namespace log {
  export function debug(text: string): void { write(-4, text); }
  export function info(text: string): void { write(0, text); }
  export function warn(text: string): void { write(4, text); }
  export function error(text: string): void { write(8, text); }
}

function write(level: i32, text: string): void {
  const bytes = bytesOf(cut(text, 8 << 10));
  hostWrite(level, bytes.dataStart, bytes.length);
}

const time = new ArrayBuffer(8);

/** Nanoseconds since 1970-01-01 UTC. */
export function now(): u64 {
  assert(hostClock(0, 1, changetype<usize>(time)) == 0, "the host has no clock");
  return load<u64>(changetype<usize>(time));
}

/** n random bytes, fit for keys. */
export function random(n: i32): Uint8Array {
  const bytes = new Uint8Array(n);
  assert(hostRandom(bytes.dataStart, n) == 0, "the host has no random numbers");
  return bytes;
}
