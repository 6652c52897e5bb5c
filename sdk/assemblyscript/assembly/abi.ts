// Frames of the ABI, version 1, as sdk/abi/ABI.md describes them. Plugins use index.ts;
// this file is for tools and for what that leaves out.

export const VERSION: u8 = 1;
export const MAX_FRAME: u32 = 16 << 20;
export const MAX_BODY: u32 = 8 << 20;
export const MAX_STRING: u32 = 64 << 10;
export const MAX_HEADERS: u32 = 256;
export const MAX_LIST: u32 = 4096;

export const KIND_REQUEST: u8 = 1;
export const KIND_RESPONSE: u8 = 2;
export const KIND_ERROR: u8 = 3;
export const KIND_START: u8 = 4;
export const KIND_MESSAGE: u8 = 5;

export const HEADER_STREAM: string = "Bulkhead-Stream";

/** Who refused or failed. */
export namespace Origin {
  export const PLUGIN: u8 = 0;
  export const POLICY: u8 = 1;
  export const GRANT: u8 = 2;
  export const HOST: u8 = 3;
  export const UPSTREAM: u8 = 4;
}

/** The field that was wrong in the frame that was decoded last; empty: none. */
export let badField: string = "";

/** A header or a parameter. */
export class Pair {
  constructor(public name: string, public value: string) {}
}

export class HostSection {
  requestId: string = "";
  user: string = "";
  name: string = "";
  roles: string[] = [];
  teams: string[] = [];
  route: string = "";
  action: string = "";
  params: Pair[] = [];
  timeoutMs: i64 = 0;
  namespaces: string[] = [];
  groups: string[] = [];
  redact: string[] = [];
}

/** A refusal or failure: of this plugin, or what a capability answered. */
export class Fault {
  /** Empty: that of the status. */
  code: string = "";
  origin: u8 = Origin.PLUGIN;
  retryable: bool = false;
  detail: string = "";
  /** The status is 400 to 599; anything else becomes 500. */
  constructor(public status: u32, public message: string) {}
}

export const NO_BYTES: Uint8Array = new Uint8Array(0);

/** What a handler answers, and what a capability answers: a response, or a fault. */
export class Reply {
  header: Pair[] = [];
  fault: Fault | null = null;
  constructor(public status: u32, public body: Uint8Array) {}

  static text(status: u32, text: string): Reply {
    return Reply.bytes(status, "text/plain; charset=utf-8", bytesOf(text));
  }
  static json(status: u32, json: string): Reply {
    return Reply.bytes(status, "application/json", bytesOf(json));
  }
  static bytes(status: u32, contentType: string, body: Uint8Array): Reply {
    return new Reply(status, body).with("Content-Type", contentType);
  }
  static noContent(): Reply {
    return new Reply(204, NO_BYTES);
  }
  static error(status: u32, message: string): Reply {
    return Reply.of(new Fault(status, message));
  }
  static of(fault: Fault): Reply {
    const r = new Reply(fault.status, NO_BYTES);
    r.fault = fault;
    return r;
  }
  with(name: string, value: string): Reply {
    this.header.push(new Pair(name, value));
    return this;
  }
}

export class Start {
  abi: u32 = 0;
  instance: string = "";
  /** The operator's config for the plugin, JSON. */
  config: Uint8Array = NO_BYTES;
  denied: string[] = [];
}

export class RawMessage {
  constructor(public kind: u8, public data: Uint8Array) {}
}

/** The bytes of a text as UTF-8. */
export function bytesOf(text: string): Uint8Array {
  return Uint8Array.wrap(String.UTF8.encode(text));
}

/** The text that bytes are as UTF-8. */
export function textOf(bytes: Uint8Array): string {
  return String.UTF8.decodeUnsafe(bytes.dataStart, bytes.length);
}

/** The longest beginning of a text that has at most n bytes as UTF-8. */
export function cut(text: string, n: i32): string {
  if (text.length * 3 <= n || String.UTF8.byteLength(text) <= n) return text;
  let size = 0, at = 0;
  while (at < text.length) {
    const c = text.codePointAt(at);
    size += c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    if (size > n) break;
    at += c < 0x10000 ? 1 : 2;
  }
  return text.substring(0, at);
}

/** The code that goes with a status. */
export function codeOf(status: u32): string {
  switch (status) {
    case 401: return "unauthenticated";
    case 403: return "forbidden";
    case 404: return "not_found";
    case 409: return "conflict";
    case 413: return "too_large";
    case 422: return "unprocessable";
    case 429: return "limited";
    case 502: return "upstream";
    case 503: return "unavailable";
    case 504: return "timeout";
  }
  return status >= 400 && status < 500 ? "invalid" : "internal";
}

/** The kind of a frame, 0 if its header is wrong (badField says where). */
export function kindOf(frame: Uint8Array): u8 {
  const at = frame.dataStart;
  badField = "";
  if (frame.length < 8 || u32(frame.length) > MAX_FRAME) badField = "header";
  else if (load<u8>(at) != VERSION) badField = "version";
  else if (load<u16>(at, 2) != 0) badField = "reserved";
  else if (load<u32>(at, 4) != u32(frame.length)) badField = "length";
  return badField.length ? 0 : load<u8>(at, 1);
}

// The first error sticks; reads after it return nothing.
class Reader {
  at: u32 = 8;
  n: u32;
  bad: string = "";

  constructor(public frame: Uint8Array, want: u8) {
    this.n = frame.length;
    const kind = kindOf(frame);
    if (badField.length) this.bad = badField;
    else if (kind != want) this.bad = "kind";
    if (this.bad.length) this.at = this.n;
  }

  fail(field: string): void {
    if (!this.bad.length) this.bad = field;
  }

  // The offset of the next n bytes; what it returns is unusable if bad is set.
  take(field: string, n: u32): usize {
    if (n > this.n - this.at) this.fail(field);
    if (this.bad.length) return 0;
    this.at += n;
    return this.frame.dataStart + (this.at - n);
  }

  u8(field: string): u8 {
    const p = this.take(field, 1);
    return p ? load<u8>(p) : 0;
  }

  bool(field: string): bool {
    const v = this.u8(field);
    if (v > 1) this.fail(field);
    return v == 1;
  }

  u32(field: string): u32 {
    const p = this.take(field, 4);
    return p ? load<u32>(p) : 0;
  }

  i64(field: string): i64 {
    const p = this.take(field, 8);
    return p ? load<i64>(p) : 0;
  }

  size(field: string, limit: u32): u32 {
    const n = this.u32(field);
    if (n <= limit) return n;
    this.fail(field);
    return 0;
  }

  str(field: string): string {
    const n = this.size(field, MAX_STRING);
    const p = this.take(field, n);
    return p && n ? String.UTF8.decodeUnsafe(p, n) : "";
  }

  raw(field: string): Uint8Array {
    const n = this.size(field, MAX_BODY);
    const p = this.take(field, n);
    return p && n ? this.frame.subarray(this.at - n, this.at) : NO_BYTES;
  }

  count(field: string, limit: u32, least: u32): u32 {
    const n = this.size(field, limit);
    if (n * least <= this.n - this.at) return n;
    this.fail(field);
    return 0;
  }

  strs(field: string): string[] {
    const list = new Array<string>();
    for (let n = this.count(field, MAX_LIST, 4); n > 0; n--) list.push(this.str(field));
    return list;
  }

  pairs(field: string, limit: u32): Pair[] {
    const list = new Array<Pair>();
    for (let n = this.count(field, limit, 8); n > 0; n--) {
      const name = this.str(field);
      list.push(new Pair(name, this.str(field)));
    }
    return list;
  }

  status(): u32 {
    const n = this.u32("status");
    if (n < 100 || n > 599) this.fail("status");
    return n;
  }

  // Whether the frame was one.
  done(): bool {
    if (this.at != this.n) this.fail("length");
    badField = this.bad;
    return !this.bad.length;
  }
}

/** A request, inbound or of a capability. */
export class RawRequest {
  header: Pair[] = [];
  body: Uint8Array = NO_BYTES;
  /** Present on every inbound request, refused on one of a capability. */
  host: HostSection | null = null;
  constructor(public method: string, public url: string) {}
}

// Each decoder returns null if the frame is none; badField says why.

export function decodeRequest(frame: Uint8Array): RawRequest | null {
  const d = new Reader(frame, KIND_REQUEST);
  const method = d.str("method");
  const r = new RawRequest(method, d.str("url"));
  r.header = d.pairs("header", MAX_HEADERS);
  r.body = d.raw("body");
  if (d.bool("host section")) {
    const h = new HostSection();
    h.requestId = d.str("request id");
    h.user = d.str("user");
    h.name = d.str("name");
    h.roles = d.strs("roles");
    h.teams = d.strs("teams");
    h.route = d.str("route");
    h.action = d.str("action");
    h.params = d.pairs("params", MAX_LIST);
    h.timeoutMs = d.i64("timeout");
    h.namespaces = d.strs("namespaces");
    h.groups = d.strs("groups");
    h.redact = d.strs("redact");
    r.host = h;
  }
  return d.done() ? r : null;
}

export function decodeResponse(frame: Uint8Array): Reply | null {
  const d = new Reader(frame, KIND_RESPONSE);
  const r = new Reply(d.status(), NO_BYTES);
  r.header = d.pairs("header", MAX_HEADERS);
  r.body = d.raw("body");
  return d.done() ? r : null;
}

export function decodeError(frame: Uint8Array): Fault | null {
  const d = new Reader(frame, KIND_ERROR);
  const x = new Fault(0, "");
  x.code = d.str("code");
  x.origin = d.u8("origin");
  x.status = d.status();
  x.retryable = d.bool("flags");
  x.message = d.str("message");
  x.detail = d.str("detail");
  if (x.status < 400) d.fail("status");
  if (x.origin > Origin.UPSTREAM) d.fail("origin");
  return d.done() ? x : null;
}

export function decodeStart(frame: Uint8Array): Start | null {
  const d = new Reader(frame, KIND_START);
  const s = new Start();
  s.abi = d.u32("abi");
  s.instance = d.str("instance");
  s.config = d.raw("config");
  s.denied = d.strs("denied");
  return d.done() ? s : null;
}

export function decodeMessage(frame: Uint8Array): RawMessage | null {
  const d = new Reader(frame, KIND_MESSAGE);
  const kind = d.u8("message kind");
  const m = new RawMessage(kind, d.raw("data"));
  if (kind < 1 || kind > 5) d.fail("message kind");
  return d.done() ? m : null;
}

/** Frames are written into one buffer, which grows. */
export class Writer {
  at: u32 = 0;
  constructor(public buffer: ArrayBuffer) {}

  get frame(): Uint8Array {
    return Uint8Array.wrap(this.buffer, 0, this.at);
  }

  room(n: u32): usize {
    const have = u32(this.buffer.byteLength);
    if (n > have - this.at) {
      const bigger = new ArrayBuffer(max(2 * have, this.at + n));
      memory.copy(changetype<usize>(bigger), changetype<usize>(this.buffer), this.at);
      this.buffer = bigger;
    }
    this.at += n;
    return changetype<usize>(this.buffer) + (this.at - n);
  }

  begin(kind: u8): void {
    this.at = 0;
    const p = this.room(8);
    store<u64>(p, 0);
    store<u8>(p, VERSION);
    store<u8>(p, kind, 1);
  }

  end(): void {
    store<u32>(changetype<usize>(this.buffer), this.at, 4);
  }

  u8(v: u8): void {
    store<u8>(this.room(1), v);
  }

  u32(v: u32): void {
    store<u32>(this.room(4), v);
  }

  i64(v: i64): void {
    store<i64>(this.room(8), v);
  }

  str(s: string): void {
    const n = String.UTF8.byteLength(s);
    this.u32(n);
    String.UTF8.encodeUnsafe(changetype<usize>(s), s.length, this.room(n));
  }

  raw(b: Uint8Array): void {
    this.u32(b.length);
    memory.copy(this.room(b.length), b.dataStart, b.length);
  }

  strs(list: string[]): void {
    this.u32(list.length);
    for (let i = 0; i < list.length; i++) this.str(list[i]);
  }

  pairs(list: Pair[]): void {
    this.u32(list.length);
    for (let i = 0; i < list.length; i++) {
      this.str(list[i].name);
      this.str(list[i].value);
    }
  }

  request(r: RawRequest): void {
    this.begin(KIND_REQUEST);
    this.str(r.method);
    this.str(r.url);
    this.pairs(r.header);
    this.raw(r.body);
    const h = r.host;
    this.u8(h !== null ? 1 : 0);
    if (h !== null) {
      this.str(h.requestId);
      this.str(h.user);
      this.str(h.name);
      this.strs(h.roles);
      this.strs(h.teams);
      this.str(h.route);
      this.str(h.action);
      this.pairs(h.params);
      this.i64(h.timeoutMs);
      this.strs(h.namespaces);
      this.strs(h.groups);
      this.strs(h.redact);
    }
    this.end();
  }

  response(r: Reply): void {
    this.begin(KIND_RESPONSE);
    this.u32(r.status);
    this.pairs(r.header);
    this.raw(r.body);
    this.end();
  }

  error(x: Fault): void {
    this.begin(KIND_ERROR);
    this.str(x.code);
    this.u8(x.origin);
    this.u32(x.status);
    this.u8(x.retryable ? 1 : 0);
    this.str(cut(x.message, MAX_STRING));
    this.str(cut(x.detail, MAX_STRING));
    this.end();
  }

  start(s: Start): void {
    this.begin(KIND_START);
    this.u32(s.abi);
    this.str(s.instance);
    this.raw(s.config);
    this.strs(s.denied);
    this.end();
  }

  message(kind: u8, data: Uint8Array): void {
    this.begin(KIND_MESSAGE);
    this.u8(kind);
    this.raw(data);
    this.end();
  }
}

/** Says what keeps headers from a frame; empty: nothing. */
export function badHeader(list: Pair[]): string {
  if (u32(list.length) > MAX_HEADERS) return "has more than 256 headers";
  for (let i = 0; i < list.length; i++) {
    if (tooLong(list[i].name) || tooLong(list[i].value)) return "has a header over 64 KiB";
  }
  return "";
}

export function tooLong(s: string): bool {
  return u32(s.length) * 3 > MAX_STRING && u32(String.UTF8.byteLength(s)) > MAX_STRING;
}
