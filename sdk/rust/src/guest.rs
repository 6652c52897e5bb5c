//! The entries of a plugin, and the buffers in which frames cross.

use crate::abi::{self, code_of, cut, host_fault, Error, Origin, Response};
use crate::session::Session;
use crate::{log, Request, Start};
use std::borrow::Cow;
use std::cell::UnsafeCell;

pub type Starter = fn(&Start) -> crate::Result<()>;
pub type Handler = fn(&Request) -> crate::Result;
pub type SessionHandler = fn(&Request, &mut Session) -> crate::Result<()>;

/// What the one thread of a plugin owns. The host enters one entry at a time.
pub(crate) struct Owned<T>(UnsafeCell<T>);

unsafe impl<T> Sync for Owned<T> {}

impl<T> Owned<T> {
    pub(crate) const fn new(v: T) -> Owned<T> {
        Owned(UnsafeCell::new(v))
    }

    /// Safety: the caller must not hold another reference to the value.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn get(&self) -> &mut T {
        &mut *self.0.get()
    }
}

// Both are made at the start, so that an ordinary request grows no memory.
static INBOUND: Owned<Vec<u8>> = Owned::new(Vec::new());
static OUTBOUND: Owned<Vec<u8>> = Owned::new(Vec::new());

const FIRST: usize = 64 << 10;

/// Memory for an inbound frame, null for one that is too long. It replaces what an
/// earlier call returned.
pub fn alloc(n: u32) -> *mut u8 {
    let n = n as usize;
    if n > abi::MAX_FRAME {
        return std::ptr::null_mut();
    }
    // Only the host uses the memory, between entries.
    let inbound = unsafe { INBOUND.get() };
    if n > inbound.len() {
        *inbound = vec![0; n.max(FIRST)];
    }
    inbound.as_mut_ptr()
}

/// The inbound frame, empty if it is not where `alloc` said.
fn inbound(at: *const u8, n: u32) -> &'static [u8] {
    // The host writes there again only after this entry has returned.
    let inbound = unsafe { INBOUND.get() };
    if at == inbound.as_ptr() {
        inbound.get(..n as usize).unwrap_or(&[])
    } else {
        &[]
    }
}

fn outbound(write: impl FnOnce(&mut Vec<u8>)) -> u64 {
    // The host has copied the frame that was there.
    let out = unsafe { OUTBOUND.get() };
    out.clear();
    write(out);
    (out.as_ptr() as usize as u64) << 32 | out.len() as u64
}

pub fn start(at: *const u8, n: u32, starter: Option<Starter>) -> u64 {
    std::panic::set_hook(Box::new(|info| log::error(&info.to_string())));
    unsafe { OUTBOUND.get() }.reserve(FIRST);
    let result = match abi::Start::decode(inbound(at, n)) {
        Err(e) => Err(host_fault(&e)),
        Ok(s) => starter.map_or(Ok(()), |f| f(&Start(s))).map_err(|mut x| {
            x.code = Cow::Borrowed("start_failed");
            x.status = 500;
            x
        }),
    };
    match result {
        Ok(()) => outbound(|out| NOTHING.encode(out)),
        Err(x) => refuse(x),
    }
}

const NOTHING: Response = Response { status: 204, header: Vec::new(), body: Vec::new() };

/// Lists the handlers, for the host to compare with the manifest.
pub fn routes(list: &'static str) -> u64 {
    answer(&Response::text(200, list))
}

pub fn handle(at: *const u8, n: u32, find: impl FnOnce(&str) -> Option<Handler>) -> u64 {
    let result = request(inbound(at, n)).and_then(|r| match find(r.route()) {
        Some(f) => f(&r),
        None => Err(no_handler(r.route())),
    });
    match result {
        Ok(r) => answer(&r),
        Err(x) => refuse(x),
    }
}

pub fn session(at: *const u8, n: u32, find: impl FnOnce(&str) -> Option<SessionHandler>) -> u64 {
    let result = request(inbound(at, n)).and_then(|r| match find(r.route()) {
        Some(f) => f(&r, &mut Session::new()),
        None => Err(no_handler(r.route())),
    });
    match result {
        Ok(()) => outbound(|out| NOTHING.encode(out)),
        Err(x) => refuse(x),
    }
}

fn request(frame: &'static [u8]) -> crate::Result<Request<'static>> {
    let r = abi::Request::decode(frame).map_err(|e| host_fault(&e))?;
    if r.host.is_none() {
        return Err(host_fault(&abi::FrameError { field: "host section", what: "is missing" }));
    }
    Ok(Request(r))
}

fn no_handler(route: &str) -> Error {
    Error {
        code: Cow::Borrowed("no_handler"),
        detail: Cow::Owned(["the plugin has no handler for route ", route].concat()),
        ..Error::new(404, "not found")
    }
}

fn answer(r: &Response) -> u64 {
    let what = if !(200..=599).contains(&r.status) {
        "status is not within 200 to 599"
    } else if r.body.len() > abi::MAX_BODY {
        "body is over the limit of 8 MiB"
    } else {
        bad_header(&r.header)
    };
    if !what.is_empty() {
        log::error(&["response ", what].concat());
        return refuse(Error::new(500, "the plugin failed"));
    }
    outbound(|out| r.encode(out))
}

/// Says what keeps headers from a frame; empty: nothing.
pub(crate) fn bad_header(header: &[abi::Pair]) -> &'static str {
    if header.len() > abi::MAX_HEADERS {
        return "has more than 256 headers";
    }
    if header.iter().any(|(n, v)| n.len() > abi::MAX_STRING || v.len() > abi::MAX_STRING) {
        return "has a header over 64 KiB";
    }
    ""
}

fn refuse(mut x: Error) -> u64 {
    if !(400..=599).contains(&x.status) {
        x.status = 500;
    }
    if x.code.is_empty() || x.code.len() > abi::MAX_STRING {
        x.code = Cow::Borrowed(code_of(x.status));
    }
    outbound(|out| x.encode(out))
}

impl Error {
    /// An error of this plugin that the client sees, with an HTTP status of 400 to 599.
    pub fn new(status: u32, message: impl Into<Cow<'static, str>>) -> Error {
        Error {
            code: Cow::Borrowed(""),
            origin: Origin::Plugin,
            status,
            retryable: false,
            message: message.into(),
            detail: Cow::Borrowed(""),
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.message)?;
        if !self.detail.is_empty() {
            f.write_str(": ")?;
            f.write_str(&self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// A log record is cut to this many bytes.
pub(crate) fn log_text(text: &str) -> &str {
    cut(text, 8 << 10)
}
