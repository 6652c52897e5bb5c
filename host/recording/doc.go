// Package recording stores the output of terminals, and on request their input: one
// file per session, in the format asciicast v3
// (https://docs.asciinema.org/manual/asciicast/v3/), which asciinema plays. Files in v2,
// which an earlier version wrote, are read as well.
//
// The header has one key of the host, "bulkhead", with the user, the target and the
// policy decision. Output and input are text, as the format requires: invalid UTF-8
// becomes U+FFFD. A marker event says how the session ended, after the exit code if the
// process ended by itself; a file without one was
// interrupted with the host.
//
// The package owns files, limits and deletion. Policy decides which sessions are
// recorded. The caller that moves the bytes records them first, and ends the session
// if that fails, so that nothing happens unrecorded.
package recording
