// Calls of capabilities. A capability's client gives its import's functions:
//
//	// @ts-ignore: decorator
//	@external("bulkhead:http/v1", "fetch")
//	declare function hostFetch(req: usize, n: u32, resp: usize, cap: u32): i64;
//
//	call(r, (a, n, b, c) => hostFetch(a, n, b, c))

import {
  badField, badHeader, decodeError, decodeResponse, Fault, HEADER_STREAM, KIND_ERROR, kindOf, MAX_BODY, MAX_FRAME, Origin, RawRequest,
  Reply, tooLong, Writer,
} from "./abi";

// @ts-ignore: decorator
@external("bulkhead:abi/v1", "take")
declare function hostTake(at: usize, cap: u32): i64;

const asked = new Writer(new ArrayBuffer(1 << 10));

/** Makes one call and returns the answer whatever its status, or who refused as its fault. */
export function call(r: RawRequest, host: (req: usize, n: u32, resp: usize, cap: u32) => i64): Reply {
  let what = badHeader(r.header);
  if (tooLong(r.method) || tooLong(r.url)) what = "has a URL over 64 KiB";
  else if (u32(r.body.length) > MAX_BODY) what = "has a body over 8 MiB";
  if (what.length) {
    const x = new Fault(413, "a capability call " + what);
    x.code = "too_large";
    return Reply.of(x);
  }
  asked.request(r);
  const buffer = new ArrayBuffer(16 << 10);
  const n = host(changetype<usize>(asked.buffer), asked.at, changetype<usize>(buffer), buffer.byteLength);
  const frame = receive(n, buffer);
  if (frame === null) return failed("the host gave no answer");
  if (kindOf(frame) == KIND_ERROR) {
    const x = decodeError(frame);
    return x !== null ? Reply.of(x) : failed(badField);
  }
  const resp = decodeResponse(frame);
  return resp !== null ? resp : failed(badField);
}

/** The n bytes that the host wrote into the buffer, or that it kept. */
export function receive(n: i64, buffer: ArrayBuffer): Uint8Array | null {
  if (n < 0 || n > i64(MAX_FRAME)) return null;
  if (n > i64(buffer.byteLength)) {
    buffer = new ArrayBuffer(i32(n));
    if (hostTake(changetype<usize>(buffer), u32(n)) != n) return null;
  }
  return Uint8Array.wrap(buffer, 0, i32(n));
}

function failed(what: string): Reply {
  const x = new Fault(500, "the host's answer: " + what);
  x.code = "internal";
  x.origin = Origin.HOST;
  return Reply.of(x);
}

/** The number of the stream that an open's answer names, 0 if it failed. */
export function streamOf(r: Reply): u32 {
  for (let i = 0; i < r.header.length; i++) {
    if (r.header[i].name == HEADER_STREAM) return u32(parseInt(r.header[i].value));
  }
  return 0;
}
