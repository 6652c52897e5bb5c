//! Plugins for Bulkhead in Rust, without dependencies.
//!
//! ```no_run
//! use bulkhead::{Request, Response, Result};
//!
//! bulkhead::plugin! {
//!     routes { "hello" => hello }
//! }
//!
//! fn hello(r: &Request) -> Result {
//!     Ok(Response::text(200, format!("hello {}", r.user())))
//! }
//! # fn main() {}
//! ```
//!
//! A plugin is a `cdylib` for `wasm32-unknown-unknown`; `bulkhead plugin pack` adds its
//! manifest. Every request begins with the state that the start left, so a static that a
//! request changes is back as it was in the next one.

pub mod abi;
mod guest;
#[macro_use]
mod capability;
pub mod json;
pub mod kube;
pub mod log;
mod request;
pub mod session;
mod system;

pub use abi::{Error, Origin};
pub use capability::{azure, exec, helm, Stream};
pub use request::{escape, Request, Response, Start};
pub use system::{now, random, uptime};

/// What a handler returns.
pub type Result<T = Response> = core::result::Result<T, Error>;

/// What the macros expand to.
#[doc(hidden)]
pub mod internal {
    pub use crate::capability::{call, open_stream};
    pub use crate::guest::{alloc, handle, routes, session, start, Handler, SessionHandler, Starter};
}

/// Declares a plugin: what runs at its start, and the handler of each route by its name in
/// the manifest.
///
/// ```no_run
/// # use bulkhead::{session::Session, Request, Result, Start};
/// bulkhead::plugin! {
///     start: configure,                // optional: fn(&Start) -> Result<()>
///     routes { "list" => list }        // fn(&Request) -> Result
///     sessions { "talk" => talk }      // optional: fn(&Request, &mut Session) -> Result<()>
/// }
/// # fn configure(_: &Start) -> Result<()> { Ok(()) }
/// # fn list(_: &Request) -> Result { unimplemented!() }
/// # fn talk(_: &Request, _: &mut Session) -> Result<()> { Ok(()) }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! plugin {
    (
        $(start: $start:path,)?
        routes { $($route:literal => $handler:path),* $(,)? }
        $(sessions { $($session:literal => $session_handler:path),+ $(,)? })?
    ) => {
        #[no_mangle]
        pub extern "C" fn bulkhead_alloc(n: u32) -> *mut u8 {
            $crate::internal::alloc(n)
        }

        #[no_mangle]
        pub extern "C" fn bulkhead_start(at: *const u8, n: u32) -> u64 {
            #[allow(unused_mut, unused_assignments)]
            let mut starter: Option<$crate::internal::Starter> = None;
            $(starter = Some($start);)?
            $crate::internal::start(at, n, starter)
        }

        #[no_mangle]
        pub extern "C" fn bulkhead_routes() -> u64 {
            $crate::internal::routes(concat!($("unary ", $route, "\n",)* $($("session ", $session, "\n",)+)?))
        }

        #[no_mangle]
        pub extern "C" fn bulkhead_handle(at: *const u8, n: u32) -> u64 {
            $crate::internal::handle(at, n, |route| {
                let handler: $crate::internal::Handler = match route {
                    $($route => $handler,)*
                    _ => return None,
                };
                Some(handler)
            })
        }

        $(
            #[no_mangle]
            pub extern "C" fn bulkhead_session(at: *const u8, n: u32) -> u64 {
                $crate::internal::session(at, n, |route| {
                    let handler: $crate::internal::SessionHandler = match route {
                        $($session => $session_handler,)+
                        _ => return None,
                    };
                    Some(handler)
                })
            }
        )?
    };
}
