//! The host's log. The host adds the plugin's name and the request's id.

#[cfg(target_arch = "wasm32")]
#[link(wasm_import_module = "bulkhead:log/v1")]
extern "C" {
    #[link_name = "write"]
    fn host_write(level: i32, at: *const u8, n: u32);
}

#[cfg(not(target_arch = "wasm32"))]
unsafe fn host_write(_: i32, _: *const u8, _: u32) {}

/// Writes one record with a level of Go's log/slog. It is cut at 8 KiB.
pub fn write(level: i32, text: &str) {
    let text = crate::guest::log_text(text);
    unsafe { host_write(level, text.as_ptr(), text.len() as u32) }
}

pub fn debug(text: &str) {
    write(-4, text)
}

pub fn info(text: &str) {
    write(0, text)
}

pub fn warn(text: &str) {
    write(4, text)
}

pub fn error(text: &str) {
    write(8, text)
}
