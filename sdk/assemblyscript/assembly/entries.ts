// What every plugin exports: export * from ".../assembly/entries";

import { alloc, enter, routes, start } from "./guest";

export function bulkhead_alloc(n: u32): usize {
  return alloc(n);
}
export function bulkhead_start(at: usize, n: u32): u64 {
  return start(at, n);
}
export function bulkhead_routes(): u64 {
  return routes();
}
export function bulkhead_handle(at: usize, n: u32): u64 {
  return enter(at, n);
}
