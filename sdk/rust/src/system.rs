//! What the host gives of WASI: clocks and random numbers, live in every request.

use std::time::Duration;

#[cfg(target_arch = "wasm32")]
mod host {
    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    extern "C" {
        pub fn clock_time_get(id: u32, precision: u64, at: *mut u64) -> u32;
        pub fn random_get(at: *mut u8, n: usize) -> u32;
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod host {
    pub unsafe fn clock_time_get(_: u32, _: u64, _: *mut u64) -> u32 {
        unimplemented!("only a host has a clock for plugins")
    }
    pub unsafe fn random_get(_: *mut u8, _: usize) -> u32 {
        unimplemented!("only a host has random numbers for plugins")
    }
}

fn clock(id: u32) -> Duration {
    let mut nanoseconds = 0;
    let status = unsafe { host::clock_time_get(id, 1, &mut nanoseconds) };
    assert!(status == 0, "the host has no clock {}", id);
    Duration::from_nanos(nanoseconds)
}

/// The time since 1970-01-01 UTC. (`std::time` has no clock on this target.)
pub fn now() -> Duration {
    clock(0)
}

/// A clock that never goes back, to measure with.
pub fn uptime() -> Duration {
    clock(1)
}

/// Fills `to` with random bytes, fit for keys. (The seeds of `HashMap` repeat in every
/// request: do not let a client fill one without bounds.)
pub fn random(to: &mut [u8]) {
    let status = unsafe { host::random_get(to.as_mut_ptr(), to.len()) };
    assert!(status == 0, "the host has no random numbers");
}
