//! Routes of kind socket and events: the plugin talks with one client until either side
//! ends it. The client's upgrade is answered at the first call on the `Session`; a handler
//! that returns an error before that refuses the upgrade, so check everything first.
//!
//! When the client goes away, calls return `Failure::Closed`. When the user logs out or
//! the session reaches its limits, the host ends stream and plugin itself.

use crate::abi::{self, cut, MessageKind};
use crate::capability::{receive, Stream};
use crate::Error;

#[cfg(target_arch = "wasm32")]
mod host {
    #[link(wasm_import_module = "bulkhead:session/v1")]
    extern "C" {
        pub fn next(at: *mut u8, cap: u32, timeout_ms: u32) -> i64;
        pub fn send(at: *const u8, n: u32) -> i32;
        pub fn close(code: u32, at: *const u8, n: u32) -> i32;
        pub fn splice(stream: u32) -> i32;
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod host {
    pub unsafe fn next(_: *mut u8, _: u32, _: u32) -> i64 {
        -1
    }
    pub unsafe fn send(_: *const u8, _: u32) -> i32 {
        -1
    }
    pub unsafe fn close(_: u32, _: *const u8, _: u32) -> i32 {
        -1
    }
    pub unsafe fn splice(_: u32) -> i32 {
        -1
    }
}

/// One message, text or binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

/// Why a call on a session failed.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The session is over: the client went away, or it was closed or spliced.
    Closed,
    /// Nothing arrived in the time given to `next`. The session goes on.
    TimedOut,
    /// The host found the call invalid. The session goes on.
    Invalid,
    /// Not possible in this state. The session goes on.
    Refused,
    /// The host failed.
    Host(Error),
}

impl Failure {
    fn of(status: i64) -> Result<(), Failure> {
        match status {
            -1 => Err(Failure::Closed),
            -2 => Err(Failure::Invalid),
            n if n < 0 => Err(Failure::Refused),
            _ => Ok(()),
        }
    }
}

/// An ended session is an ordinary way for a handler to return; `done` makes it one.
pub fn done(result: Result<(), Failure>) -> crate::Result<()> {
    match result {
        Ok(()) | Err(Failure::Closed) => Ok(()),
        Err(Failure::Host(e)) => Err(e),
        Err(f) => Err(Error::new(500, format!("session: {:?}", f))),
    }
}

impl From<Failure> for Error {
    fn from(f: Failure) -> Error {
        match f {
            Failure::Host(e) => e,
            f => Error::new(500, format!("session: {:?}", f)),
        }
    }
}

/// One client's connection.
pub struct Session {
    received: Vec<u8>,
    sent: Vec<u8>,
}

impl Session {
    pub(crate) fn new() -> Session {
        Session { received: Vec::new(), sent: Vec::new() }
    }

    /// Waits for the client's next message, at most so many milliseconds; 0 waits as long
    /// as the session lives. Text that is not UTF-8 counts as binary.
    pub fn next(&mut self, timeout_ms: u32) -> Result<Message<'_>, Failure> {
        if self.received.is_empty() {
            self.received.resize(4 << 10, 0);
        }
        let timeout = if timeout_ms == 0 { i32::MAX as u32 } else { timeout_ms.min(i32::MAX as u32) };
        let n = unsafe { host::next(self.received.as_mut_ptr(), self.received.len() as u32, timeout) };
        Failure::of(n)?;
        let frame = receive(n, &mut self.received).map_err(Failure::Host)?;
        match abi::decode_message(frame) {
            Ok((MessageKind::Text, data)) => Ok(match std::str::from_utf8(data) {
                Ok(text) => Message::Text(text),
                Err(_) => Message::Binary(data),
            }),
            Ok((MessageKind::Binary, data)) => Ok(Message::Binary(data)),
            Ok((MessageKind::Close, _)) => Err(Failure::Closed),
            Ok((MessageKind::Idle | MessageKind::Event, _)) => Err(Failure::TimedOut), // hosts send no Event
            Err(e) => Err(Failure::Host(abi::host_fault(&e))),
        }
    }

    /// Sends text; on an event stream, one event's data.
    pub fn send_text(&mut self, text: &str) -> Result<(), Failure> {
        self.send(MessageKind::Text, text.as_bytes())
    }

    /// Sends bytes.
    pub fn send_binary(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.send(MessageKind::Binary, data)
    }

    /// Sends a message of kind text or binary, of at most 8 MiB. Text must be UTF-8.
    pub fn send(&mut self, kind: MessageKind, data: &[u8]) -> Result<(), Failure> {
        let sendable = matches!(kind, MessageKind::Text | MessageKind::Binary) && data.len() <= abi::MAX_BODY;
        if !sendable || kind == MessageKind::Text && std::str::from_utf8(data).is_err() {
            return Err(Failure::Invalid);
        }
        self.sent.clear();
        abi::encode_message(&mut self.sent, kind, data);
        Failure::of(unsafe { host::send(self.sent.as_ptr(), self.sent.len() as u32) } as i64)
    }

    /// Ends the session with a close code, 1000 or one of 4000 to 4399 and 4600 to 4999,
    /// and a reason, cut to 120 bytes. With another code the session goes on.
    pub fn close(&mut self, code: u32, reason: &str) -> Result<(), Failure> {
        let reason = cut(reason, 120);
        Failure::of(unsafe { host::close(code, reason.as_ptr(), reason.len() as u32) } as i64)
    }

    /// Hands the client to a stream. It is the last call of a handler, and is refused
    /// after `next`.
    pub fn splice(&mut self, stream: Stream) -> Result<(), Failure> {
        Failure::of(unsafe { host::splice(stream.0) } as i64)
    }
}
