// What a plugin with socket or events routes exports besides.

import { enterSession } from "./guest";

export function bulkhead_session(at: usize, n: u32): u64 {
  return enterSession(at, n);
}
