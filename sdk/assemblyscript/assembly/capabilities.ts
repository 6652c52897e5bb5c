// Capabilities whose calls are URLs: helm://CLUSTER/NAMESPACE/RELEASE/…,
// exec://CLUSTER/NAMESPACE/POD?command=…

import { RawRequest, Reply } from "./abi";
import { call } from "./call";

// @ts-ignore: decorator
@external("bulkhead:helm/v1", "fetch")
declare function helmFetch(req: usize, n: u32, resp: usize, cap: u32): i64;
// @ts-ignore: decorator
@external("bulkhead:exec/v1", "open")
declare function execOpen(req: usize, n: u32, resp: usize, cap: u32): i64;
// @ts-ignore: decorator
@external("bulkhead:azure/v1", "fetch")
declare function azureFetch(req: usize, n: u32, resp: usize, cap: u32): i64;

export namespace helm {
  export function fetch(r: RawRequest): Reply {
    return call(r, (a: usize, n: u32, b: usize, c: u32): i64 => helmFetch(a, n, b, c));
  }
}

export namespace azure {
  export function fetch(r: RawRequest): Reply {
    return call(r, (a: usize, n: u32, b: usize, c: u32): i64 => azureFetch(a, n, b, c));
  }
}

export namespace exec {
  /** Opens a stream; streamOf names it for Session.splice. */
  export function open(r: RawRequest): Reply {
    return call(r, (a: usize, n: u32, b: usize, c: u32): i64 => execOpen(a, n, b, c));
  }
}
