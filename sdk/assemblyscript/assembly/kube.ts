// The API servers of the operator's clusters, called as the user. Paths are the API
// server's own; build them from request data with kube.path.

import { bytesOf, Fault, NO_BYTES, Origin, Pair, RawRequest, Reply } from "./abi";
import { call } from "./call";
import { JSON } from "./json";
import { escape } from "./request";

// @ts-ignore: decorator
@external("bulkhead:kube/v1", "fetch")
declare function hostFetch(req: usize, n: u32, resp: usize, cap: u32): i64;

export namespace kube {
  /** Joins segments to a path and escapes each. */
  export function path(segments: string[]): string {
    let out = "";
    for (let i = 0; i < segments.length; i++) out += "/" + escape(segments[i]);
    return out;
  }

  /** Makes one call with any URL kube://CLUSTER/PATH. */
  export function fetchRaw(r: RawRequest): Reply {
    return call(r, (a: usize, n: u32, b: usize, c: u32): i64 => hostFetch(a, n, b, c));
  }

  /** Makes one call and returns the answer whatever its status. */
  export function fetch(cluster: string, method: string, path: string, contentType: string = "", body: Uint8Array = NO_BYTES): Reply {
    const r = new RawRequest(method, "kube://" + escape(cluster) + path);
    r.header.push(new Pair("Accept", "application/json"));
    if (contentType.length) r.header.push(new Pair("Content-Type", contentType));
    r.body = body;
    return fetchRaw(r);
  }

  /** Reads an object or collection. A status of 400 or more is a fault with the API
   * server's message. */
  export function get(cluster: string, path: string): Reply {
    const r = fetch(cluster, "GET", path);
    if (r.fault !== null || r.status < 400) return r;
    const x = new Fault(r.status, JSON.parse(r.body).get("message").text);
    x.origin = Origin.UPSTREAM;
    return Reply.of(x);
  }
}
