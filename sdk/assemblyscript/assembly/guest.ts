// What a plugin registers, the entries that the host calls, and the buffers in which
// frames cross.

import {
  badField, badHeader, codeOf, decodeRequest, decodeStart, Fault, MAX_BODY, MAX_FRAME, MAX_STRING, Origin, Reply, Start, Writer,
} from "./abi";
import { Request } from "./request";
import { Session } from "./session";
import { log } from "./system";

const FIRST = 64 << 10;

// Both are made at the start, so that an ordinary request grows no memory.
let inbound = new ArrayBuffer(FIRST);
const outbound = new Writer(new ArrayBuffer(FIRST));

type Handler = (r: Request) => Reply;
type SessionHandler = (r: Request, s: Session) => Fault | null;
type Starter = (s: Start) => Fault | null;

const handlers = new Map<string, Handler>();
const sessions = new Map<string, SessionHandler>();
const starters = new Array<Starter>();

/** Registers the handler of a unary route, by its name in the manifest. */
export function handle(route: string, f: (r: Request) => Reply): void {
  handlers.set(route, f);
}

/** Registers the handler of a socket or events route. Export the session's entry, too. */
export function handleSession(route: string, f: (r: Request, s: Session) => Fault | null): void {
  sessions.set(route, f);
}

/** Registers what runs once, before the first request. A fault keeps the plugin from being
 * loaded, and the operator reads it. */
export function onStart(f: (s: Start) => Fault | null): void {
  starters.push(f);
}

export function alloc(n: u32): usize {
  if (n > MAX_FRAME) return 0;
  if (n > u32(inbound.byteLength)) inbound = new ArrayBuffer(n);
  return changetype<usize>(inbound);
}

function frame(at: usize, n: u32): Uint8Array {
  if (at != changetype<usize>(inbound) || n > u32(inbound.byteLength)) n = 0;
  return Uint8Array.wrap(inbound, 0, n);
}

function result(): u64 {
  return u64(changetype<usize>(outbound.buffer)) << 32 | u64(outbound.at);
}

function refuse(x: Fault): u64 {
  if (x.status < 400 || x.status > 599) x.status = 500;
  if (!x.code.length || u32(x.code.length) > MAX_STRING / 3) x.code = codeOf(x.status);
  outbound.error(x);
  return result();
}

function hostFault(field: string): u64 {
  const x = new Fault(500, "abi frame: " + field + ": is malformed");
  x.origin = Origin.HOST;
  return refuse(x);
}

function noHandler(route: string): u64 {
  const x = new Fault(404, "not found");
  x.code = "no_handler";
  x.detail = "the plugin has no handler for route " + route;
  return refuse(x);
}

function answer(r: Reply): u64 {
  const fault = r.fault;
  if (fault !== null) return refuse(fault);
  let what = badHeader(r.header);
  if (r.status < 200 || r.status > 599) what = "status is not within 200 to 599";
  else if (u32(r.body.length) > MAX_BODY) what = "body is over the limit of 8 MiB";
  if (what.length) {
    log.error("response " + what);
    return refuse(new Fault(500, "the plugin failed"));
  }
  outbound.response(r);
  return result();
}

export function start(at: usize, n: u32): u64 {
  const s = decodeStart(frame(at, n));
  if (s === null) return hostFault(badField);
  // The frame's memory is the next request's, and a plugin may keep what it was given.
  s.config = s.config.slice();
  for (let i = 0; i < starters.length; i++) {
    const x = starters[i](s);
    if (x === null) continue;
    x.code = "start_failed";
    x.status = 500;
    return refuse(x);
  }
  return answer(Reply.noContent());
}

/** Lists the handlers, for the host to compare with the manifest. */
export function routes(): u64 {
  let list = "";
  const unary = handlers.keys();
  for (let i = 0; i < unary.length; i++) list += "unary " + unary[i] + "\n";
  const streams = sessions.keys();
  for (let i = 0; i < streams.length; i++) list += "session " + streams[i] + "\n";
  return answer(Reply.text(200, list));
}

export function enter(at: usize, n: u32): u64 {
  const r = decodeRequest(frame(at, n));
  if (r === null) return hostFault(badField);
  const h = r.host;
  if (h === null) return hostFault("host section");
  if (!handlers.has(h.route)) return noHandler(h.route);
  return answer(handlers.get(h.route)(new Request(r)));
}

export function enterSession(at: usize, n: u32): u64 {
  const r = decodeRequest(frame(at, n));
  if (r === null) return hostFault(badField);
  const h = r.host;
  if (h === null) return hostFault("host section");
  if (!sessions.has(h.route)) return noHandler(h.route);
  const x = sessions.get(h.route)(new Request(r), new Session());
  return x !== null ? refuse(x) : answer(Reply.noContent());
}
