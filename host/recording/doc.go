// Package recording keeps what people saw, and if wanted what they typed, in
// terminals: one file a session, in the format asciicast v2
// (https://docs.asciinema.org/manual/asciicast/v2/), which asciinema plays.
//
// The header has one key of the host's own, "bulkhead", that says who it was,
// where, and by which decision. Output and input are text, as the format wants
// it: bytes that are no UTF-8 become U+FFFD. A marker event says how the session
// ended; a file without one was cut off with the host.
//
// The package owns files, bounds and deletion. Who is recorded is for policy to
// say, and that nothing happens unrecorded is the matter of whoever moves the
// bytes: it writes here first and ends the session when that fails.
package recording
