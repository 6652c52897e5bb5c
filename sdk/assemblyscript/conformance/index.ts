// The conformance plugin of the AssemblyScript SDK. It does what
// sdk/conformance/plugin/main.go does, route by route.

import {
  bytesOf, exec, Fault, handle, handleSession, helm, kube, log, Message, now, onStart, Pair, random, RawRequest, Reply, Request, Session,
  Start, Status, streamOf, textOf,
} from "../assembly";
import {
  badField, codeOf, decodeError, decodeMessage, decodeRequest, decodeResponse, decodeStart, kindOf, KIND_ERROR, KIND_MESSAGE,
  KIND_REQUEST, KIND_RESPONSE, KIND_START, Writer,
} from "../assembly/abi";
export * from "../assembly/entries";
export * from "../assembly/session-entry";

// What the start leaves, and requests change.
let started = new Bytes();
let count: u32 = 0;
let kept = new Array<u8>();
let grown = new Uint8Array(0);

// Bytes that grow.
class Bytes {
  private b: Uint8Array = new Uint8Array(1 << 10);
  n: i32 = 0;

  add(bytes: Uint8Array): void {
    if (this.n + bytes.length > this.b.length) {
      const bigger = new Uint8Array(2 * (this.n + bytes.length));
      bigger.set(this.b.subarray(0, this.n));
      this.b = bigger;
    }
    this.b.set(bytes, this.n);
    this.n += bytes.length;
  }

  // A frame with its length before it.
  frame(f: Uint8Array): void {
    const n = new Uint8Array(4);
    store<u32>(n.dataStart, f.length);
    this.add(n);
    this.add(f);
  }

  get all(): Uint8Array { return this.b.subarray(0, this.n); }
}

function writer(): Writer {
  return new Writer(new ArrayBuffer(1 << 10));
}

onStart((s: Start): Fault | null => {
  const config = textOf(s.config);
  if (config.includes("\"refuse\"")) return new Fault(500, "the configuration asks to refuse");
  const w = writer();
  w.start(s);
  started.frame(w.frame);
  if (config.includes("\"call\"")) started.frame(encoded(kube.fetchRaw(new RawRequest("GET", "kube://dev/api/v1/pods"))));
  count = 100;
  kept.push(120);
  return null;
});

// The frame of an answer.
function encoded(r: Reply): Uint8Array {
  const w = writer();
  const x = r.fault;
  if (x !== null) w.error(x);
  else w.response(r);
  return w.frame;
}

function bytes(body: Uint8Array): Reply {
  return Reply.bytes(200, "application/octet-stream", body);
}

function number(r: Request, name: string): i32 {
  return parse(r.query(name));
}

function parse(s: string): i32 {
  return s.length ? I32.parseInt(s) : 0;
}

handle("echo", r => {
  const w = writer();
  w.request(r.raw);
  return bytes(w.frame);
});

handle("read", r => Reply.text(200, [
  r.method, r.path, r.rawQuery, r.query("a"), r.query("absent"), r.queryAll("many").join(","),
  r.header("content-TYPE"), r.header("absent"), r.param("first"), r.param("second"), r.param("absent"),
  r.user, r.name, r.roles.join(","), r.teams.join(","), r.route, r.action, r.requestId,
  r.namespaces.join(","), r.resourceGroups.join(","), r.redact.join(","), r.timeoutMs > 0 ? "some" : "none", r.text,
].join("\n")));

// Whether w has the frame again; badField says what is wrong with it.
function recode(f: Uint8Array, w: Writer): bool {
  const kind = kindOf(f);
  if (badField.length) return false;
  if (kind == KIND_REQUEST) {
    const v = decodeRequest(f);
    if (v !== null) w.request(v);
    return v !== null;
  }
  if (kind == KIND_RESPONSE) {
    const v = decodeResponse(f);
    if (v !== null) w.response(v);
    return v !== null;
  }
  if (kind == KIND_ERROR) {
    const v = decodeError(f);
    if (v !== null) w.error(v);
    return v !== null;
  }
  if (kind == KIND_START) {
    const v = decodeStart(f);
    if (v !== null) w.start(v);
    return v !== null;
  }
  if (kind == KIND_MESSAGE) {
    const v = decodeMessage(f);
    if (v !== null) w.message(v.kind, v.data);
    return v !== null;
  }
  decodeMessage(f); // it says that the kind is wrong
  return false;
}

handle("frames", r => {
  const out = new Bytes();
  const w = writer();
  for (let at = 0; at < r.body.length;) {
    const n = load<u32>(r.body.dataStart + at);
    out.frame(recode(r.body.subarray(at + 4, at + 4 + n), w) ? w.frame : bytesOf("!" + badField));
    at += 4 + n;
  }
  return bytes(out.all);
});

handle("respond", r => {
  const v = decodeResponse(r.body);
  return v !== null ? v : Reply.error(400, badField);
});

// Adds the headers that the query asks for.
function headers(r: Request, to: Pair[]): void {
  for (let i = number(r, "headers"); i > 0; i--) to.push(new Pair("X-Many", "v"));
  if (number(r, "value") > 0) to.push(new Pair("X-Long", "v".repeat(number(r, "value"))));
}

handle("fill", r => {
  const out = new Reply(number(r, "status"), new Uint8Array(number(r, "body")).fill(98));
  headers(r, out.header);
  return out;
});

handle("fail", r => {
  const x = decodeError(r.body);
  if (x === null) return Reply.error(400, badField);
  if (number(r, "status") > 0) x.status = number(r, "status");
  return Reply.of(x);
});

handle("call", r => {
  if (r.query("on") == "helm") return helm.fetch(new RawRequest("GET", "helm://dev/shop"));
  const q = decodeRequest(r.body);
  if (q === null) return Reply.error(400, badField);
  headers(r, q.header);
  q.url += "u".repeat(number(r, "url"));
  if (number(r, "body") > 0) q.body = new Uint8Array(number(r, "body"));
  let reply = kube.fetchRaw(q);
  if (reply.fault !== null && r.query("pass").length) return reply;
  if (r.query("again").length) reply = kube.fetchRaw(q);
  return bytes(encoded(reply));
});

handle("started", r => bytes(started.all));

handle("count", r => {
  count++;
  kept.push(120);
  return Reply.text(200, count.toString() + " " + kept.length.toString());
});

handle("live", r => {
  const b = random(16);
  let hex = "";
  for (let i = 0; i < 16; i++) hex += (b[i] < 16 ? "0" : "") + b[i].toString(16);
  return Reply.text(200, now().toString() + " " + hex);
});

handle("grow", r => {
  grown = new Uint8Array(number(r, "bytes"));
  for (let i = 0; i < grown.length; i += 4096) grown[i] = 1;
  return Reply.text(200, grown.length.toString());
});

handle("spin", (r: Request): Reply => {
  while (true) count++;
  return Reply.noContent();
});

handle("trap", (r: Request): Reply => {
  throw new Error("trap was asked for");
});

handle("log", r => {
  const level = r.query("level");
  if (level == "debug") log.debug(r.text);
  else if (level == "info") log.info(r.text);
  else if (level == "warn") log.warn(r.text);
  else log.error(r.text);
  return Reply.noContent();
});

handle("nothing", r => Reply.noContent());

function outcome(status: i32): string {
  if (status == Status.OK) return "ok";
  if (status == Status.TIMED_OUT) return "timed out";
  if (status == Status.CLOSED) return "closed";
  if (status == Status.REFUSED) return "refused";
  return "invalid";
}

function before(s: string): string {
  const at = s.indexOf(" ");
  return at < 0 ? s : s.substring(0, at);
}

function after(s: string): string {
  const at = s.indexOf(" ");
  return at < 0 ? "" : s.substring(at + 1);
}

// Does what a text message says, and sends every other message back.
handleSession("talk", (r: Request, s: Session): Fault | null => {
  if (number(r, "refuse") > 0) return new Fault(number(r, "refuse"), "the session is refused");
  while (true) {
    const m = s.next();
    if (m.status != Status.OK) return null;
    let binary = m.binary;
    let data = m.data;
    if (!binary) {
      const word = before(m.text);
      const rest = after(m.text);
      if (word == "bye") return null;
      if (word == "fail") return new Fault(parse(rest), "failure was asked for");
      if (word == "count") {
        count++;
        data = bytesOf(count.toString());
      } else if (word == "idle") data = bytesOf("idle " + outcome(s.next(parse(rest)).status));
      else if (word == "big") {
        binary = true;
        data = new Uint8Array(parse(rest));
      } else if (word == "garble") data = bytesOf("garble " + outcome(s.send(false, new Uint8Array(1).fill(0xff))));
      else if (word == "splice") data = bytesOf("splice " + outcome(s.splice(1)));
      else if (word == "close") {
        if (s.close(parse(before(rest)), after(rest)) == Status.OK) return null;
        data = bytesOf("close invalid");
      }
    }
    if (s.send(binary, data) != Status.OK) return null;
  }
  return null;
});

// Opens as many streams as the query says and hands the client to the last.
handleSession("splice", (r: Request, s: Session): Fault | null => {
  let stream: u32 = 0;
  for (let i = max(1, number(r, "open")); i > 0; i--) {
    const opened = exec.open(new RawRequest("GET", "exec://dev/shop/web?command=sh"));
    if (opened.fault !== null) return opened.fault;
    stream = streamOf(opened);
  }
  if (number(r, "stream") > 0) stream = number(r, "stream");
  if (r.query("leave").length) return new Fault(409, "left");
  const status = s.splice(stream);
  if (status != Status.OK) return new Fault(409, "splice " + outcome(status));
  if (r.query("after").length) log.warn("after splice: " + outcome(s.sendText("more")));
  return null;
});

handleSession("events", (r: Request, s: Session): Fault | null => {
  for (let i = 0; i < number(r, "n"); i++) {
    if (s.sendText("event " + i.toString()) != Status.OK) return null;
  }
  return null;
});
