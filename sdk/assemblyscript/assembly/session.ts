// Routes of kind socket and events: the plugin talks with one client until either side
// ends it. The client's upgrade is answered at the first call on the session; a handler that
// returns a fault before that refuses it.

import { bytesOf, cut, decodeMessage, MAX_BODY, NO_BYTES, textOf, Writer } from "./abi";
import { receive } from "./call";

// @ts-ignore: decorator
@external("bulkhead:session/v1", "next")
declare function hostNext(at: usize, cap: u32, timeoutMs: u32): i64;
// @ts-ignore: decorator
@external("bulkhead:session/v1", "send")
declare function hostSend(at: usize, n: u32): i32;
// @ts-ignore: decorator
@external("bulkhead:session/v1", "close")
declare function hostClose(code: u32, at: usize, n: u32): i32;
// @ts-ignore: decorator
@external("bulkhead:session/v1", "splice")
declare function hostSplice(stream: u32): i32;

/** What became of a call on a session. */
export namespace Status {
  export const OK: i32 = 0;
  /** The session is over: return. */
  export const CLOSED: i32 = -1;
  /** The host found the call invalid; the session goes on. */
  export const INVALID: i32 = -2;
  /** Not possible in this state; the session goes on. */
  export const REFUSED: i32 = -3;
  /** Nothing arrived in time; the session goes on. */
  export const TIMED_OUT: i32 = -4;
  export const FAILED: i32 = -5;
}

export class Message {
  constructor(public status: i32, public binary: bool, public data: Uint8Array) {}
  get text(): string { return textOf(this.data); }
}

/** One client's connection. */
export class Session {
  private received: ArrayBuffer = new ArrayBuffer(4 << 10);
  private sent: Writer = new Writer(new ArrayBuffer(4 << 10));

  /** Waits for the client's next message, at most so many milliseconds; 0: as long as the
   * session lives. Its data is there until the next call. */
  next(timeoutMs: u32 = 0): Message {
    const timeout = timeoutMs == 0 || timeoutMs > u32(i32.MAX_VALUE) ? u32(i32.MAX_VALUE) : timeoutMs;
    const n = hostNext(changetype<usize>(this.received), this.received.byteLength, timeout);
    if (n < 0) return new Message(i32(n), false, NO_BYTES);
    const frame = receive(n, this.received);
    if (frame === null) return new Message(Status.FAILED, false, NO_BYTES);
    this.received = frame.buffer;
    const m = decodeMessage(frame);
    if (m === null) return new Message(Status.FAILED, false, NO_BYTES);
    if (m.kind == 3) return new Message(Status.CLOSED, false, NO_BYTES);
    if (m.kind == 4) return new Message(Status.TIMED_OUT, false, NO_BYTES);
    return new Message(Status.OK, m.kind == 2, m.data);
  }

  sendText(text: string): i32 {
    return this.send(false, bytesOf(text));
  }

  /** Sends a message of at most 8 MiB. Text that is not UTF-8 is invalid. */
  send(binary: bool, data: Uint8Array): i32 {
    if (u32(data.length) > MAX_BODY) return Status.INVALID;
    this.sent.message(binary ? 2 : 1, data);
    return hostSend(changetype<usize>(this.sent.buffer), this.sent.at);
  }

  /** Ends the session with a code, 1000, 4000 to 4399 or 4600 to 4999, and a reason, which
   * is cut to 120 bytes. */
  close(code: u32, reason: string): i32 {
    const bytes = bytesOf(cut(reason, 120));
    return hostClose(code, bytes.dataStart, bytes.length);
  }

  /** Hands the client to a stream: the handler's last call, refused after next. */
  splice(stream: u32): i32 {
    return hostSplice(stream);
  }
}
