//! Calls of capabilities. Each has an import module of its own, so a plugin imports only
//! what it uses.

use crate::abi::{self, Error, Origin, Request, Response};
use crate::guest::{bad_header, Owned};
use std::borrow::Cow;

/// Something that the host has open for the plugin, for one `Session::splice` in the entry
/// that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream(pub u32);

/// Declares the module of a capability: `fetch` makes one call and returns the answer
/// whatever its status, `open` opens a stream. An error is a refusal or failure, to be
/// handled or returned as it is.
///
/// ```no_run
/// bulkhead::capability!(pub mod http = "bulkhead:http/v1");
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! capability {
    ($(#[$meta:meta])* pub mod $name:ident = $module:literal) => {
        $(#[$meta])*
        pub mod $name {
            #[cfg(target_arch = "wasm32")]
            mod host {
                #[link(wasm_import_module = $module)]
                extern "C" {
                    pub fn fetch(req: *const u8, n: u32, resp: *mut u8, cap: u32) -> i64;
                    pub fn open(req: *const u8, n: u32, resp: *mut u8, cap: u32) -> i64;
                }
            }
            #[cfg(not(target_arch = "wasm32"))]
            mod host {
                pub unsafe fn fetch(_: *const u8, _: u32, _: *mut u8, _: u32) -> i64 {
                    -3
                }
                pub unsafe fn open(_: *const u8, _: u32, _: *mut u8, _: u32) -> i64 {
                    -3
                }
            }

            /// Makes one call and returns the answer whatever its status.
            pub fn fetch(r: &$crate::abi::Request) -> $crate::Result {
                $crate::internal::call(r, |a, n, b, c| unsafe { host::fetch(a, n, b, c) })
            }

            /// Opens a stream.
            pub fn open(r: &$crate::abi::Request) -> $crate::Result<$crate::Stream> {
                $crate::internal::open_stream(r, |a, n, b, c| unsafe { host::open(a, n, b, c) })
            }
        }
    };
}

capability!(
    /// Releases of helm: URLs `helm://CLUSTER/NAMESPACE/RELEASE/…`.
    pub mod helm = "bulkhead:helm/v1"
);
capability!(
    /// Azure Resource Manager: URLs `azure://INSTANCE/…`.
    pub mod azure = "bulkhead:azure/v1"
);
capability!(
    /// Processes in containers: `open` with URL `exec://CLUSTER/NAMESPACE/POD?command=…`.
    pub mod exec = "bulkhead:exec/v1"
);

#[cfg(target_arch = "wasm32")]
#[link(wasm_import_module = "bulkhead:abi/v1")]
extern "C" {
    #[link_name = "take"]
    fn host_take(at: *mut u8, cap: u32) -> i64;
}

#[cfg(not(target_arch = "wasm32"))]
unsafe fn host_take(_: *mut u8, _: u32) -> i64 {
    0
}

const FIRST_ANSWER: usize = 16 << 10;

// The buffers of calls. A call in a plugin never begins within another.
static REQUEST: Owned<Vec<u8>> = Owned::new(Vec::new());
static ANSWER: Owned<Vec<u8>> = Owned::new(Vec::new());

pub fn call(r: &Request, host: impl FnOnce(*const u8, u32, *mut u8, u32) -> i64) -> crate::Result {
    let what = if r.method.len() > abi::MAX_STRING || r.url.len() > abi::MAX_STRING {
        "has a URL over 64 KiB"
    } else if r.body.len() > abi::MAX_BODY {
        "has a body over 8 MiB"
    } else {
        bad_header(&r.header)
    };
    if !what.is_empty() {
        return Err(Error { code: Cow::Borrowed("too_large"), ..Error::new(413, ["a capability call ", what].concat()) });
    }
    let (request, answer) = unsafe { (REQUEST.get(), ANSWER.get()) };
    if answer.is_empty() {
        answer.resize(FIRST_ANSWER, 0);
    }
    request.clear();
    r.encode(request);
    let n = host(request.as_ptr(), request.len() as u32, answer.as_mut_ptr(), answer.len() as u32);
    abi::decode_reply(receive(n, answer)?)
}

/// The n bytes that the host wrote into `buffer`, or that it kept.
pub(crate) fn receive(n: i64, buffer: &mut Vec<u8>) -> crate::Result<&[u8]> {
    if n < 0 || n > abi::MAX_FRAME as i64 {
        return Err(no_answer(n));
    }
    let size = n as usize;
    if size > buffer.len() {
        *buffer = vec![0; size];
        let got = unsafe { host_take(buffer.as_mut_ptr(), size as u32) };
        if got != n {
            return Err(no_answer(got));
        }
    }
    Ok(&buffer[..size])
}

#[cold]
fn no_answer(n: i64) -> Error {
    Error {
        origin: Origin::Host,
        ..Error::new(500, format!("the host gave no answer ({})", n))
    }
}

pub fn open_stream(r: &Request, host: impl FnOnce(*const u8, u32, *mut u8, u32) -> i64) -> crate::Result<Stream> {
    let resp: Response = call(r, host)?;
    let header = resp.header.iter().find(|(n, _)| n.eq_ignore_ascii_case(abi::HEADER_STREAM));
    match header.and_then(|(_, v)| v.parse().ok()) {
        Some(n) => Ok(Stream(n)),
        None => Err(Error { origin: Origin::Host, ..Error::new(502, "no stream was opened") }),
    }
}

impl<'a> Request<'a> {
    /// A call of a capability.
    pub fn new(method: impl Into<Cow<'a, str>>, url: impl Into<Cow<'a, str>>) -> Request<'a> {
        Request { method: method.into(), url: url.into(), ..Request::default() }
    }
}
