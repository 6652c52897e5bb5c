// Package abi is the wire contract between the host and a plugin, version 1:
// names of exports and imports, frames, limits. Both sides import it, so it
// uses the standard library only and compiles for wasip1.
//
// # Frames
//
// All data is exchanged in frames. A frame is a header of eight bytes and then fields in a
// fixed order. Integers are little-endian, a string or byte slice is a 32-bit length and
// its bytes, a list is a 32-bit count and its elements.
//
//	offset  size  field
//	0       1     version (1)
//	1       1     kind
//	2       2     reserved, zero
//	4       4     length of the whole frame, header included
//
// A decoder accepts exactly one frame. It refuses trailing bytes, a length or count beyond
// the limits, and reserved bits that are set. Decoding copies the frame once and slices
// the copy; it never allocates more than a constant factor of the frame's length.
//
// # Calling convention
//
// The host obtains memory for an inbound frame by calling the guest's
// bulkhead_alloc, writes the frame there, and calls the entry. An entry
// returns ptr<<32|len of the outbound frame, which the host copies at once; the guest may
// reuse that memory at its next entry. Both sides are tested against the golden frames in
// testdata.
package abi

// Version is the version of this contract. It is the first byte of every frame
// and part of every import module's name.
const Version = 1

// Exports of a plugin. A guest exports Memory, Alloc, Start and Handle, and Session if its
// manifest has a socket or event route. Initialize is defined by WASI for reactors and is
// called first if it is present.
const (
	ExportMemory     = "memory"
	ExportInitialize = "_initialize"
	ExportAlloc      = "bulkhead_alloc"   // (n i32) -> ptr i32
	ExportStart      = "bulkhead_start"   // (ptr, n i32) -> i64: a Response or an Error frame
	ExportHandle     = "bulkhead_handle"  // (ptr, n i32) -> i64: a Response or an Error frame
	ExportSession    = "bulkhead_session" // (ptr, n i32) -> i64: as handle; see ModuleSession
	// ExportHealth is optional: () -> i64, a Response whose status from 200 to 299 says
	// that the plugin works, any other or an Error that it does not; 0: it does not say.
	// The host calls it once, after start and before the first request; capabilities
	// refuse meanwhile.
	ExportHealth = "bulkhead_health"
	// ExportRoutes is optional: () -> i64, a Response with status 200 whose body lists the
	// handlers that the plugin has registered, one in a line: "unary" or "session", a
	// space, and the name of a route or its method and path, such as
	// "unary GET /releases/{name}". The host calls it after Initialize and before Start,
	// and refuses a plugin whose manifest has other routes.
	ExportRoutes = "bulkhead_routes"
	// ExportAllocations is optional: () -> i64, the number of allocations since the start,
	// shifted left by 32, and their bytes; each at most 2^32-1. Only "bulkhead plugin bench"
	// calls it, after a request.
	ExportAllocations = "bulkhead_allocations"
)

// Import modules. A capability's module is ModulePrefix + name + "/v1", so the
// import section of a plugin is its capability list.
const (
	ModulePrefix = "bulkhead:"
	ModuleSuffix = "/v1"

	// ModuleABI has take(ptr, cap i32) -> i64: it writes the response that fetch or
	// next kept because the guest's buffer was too short, and returns its length.
	ModuleABI  = "bulkhead:abi/v1"
	ImportTake = "take"

	// ModuleLog has write(level, ptr, n i32) and record(level, ptr, n, attributes, size i32),
	// which has what AppendAttributes encodes. Levels are those of log/slog.
	ModuleLog    = "bulkhead:log/v1"
	ImportWrite  = "write"
	ImportRecord = "record"

	// ModuleSession has the functions of a running session:
	//	next(ptr, cap, timeoutMs i32) -> i64   length of the next Message frame, or a negative Status
	//	send(ptr, n i32) -> i32                a Message frame; Status codes
	//	close(code, ptr, n i32) -> i32         close code, which MayClose, and reason
	//	splice(stream i32) -> i32              connect a stream to the client; the last call
	// The client's upgrade is answered at the first of these calls. A session
	// entry that returns a Response or Error frame before that refuses the
	// upgrade as plain HTTP.
	ModuleSession = "bulkhead:session/v1"
	ImportNext    = "next"
	ImportSend    = "send"
	ImportClose   = "close"
	ImportSplice  = "splice"

	// Every capability module has
	//	fetch(req, n, resp, cap i32) -> i64
	//	open(req, n, resp, cap i32) -> i64     if it has streams
	// The host keeps a result longer than cap; read it with take. open answers with a
	// Response whose HeaderStream names the stream. Refusals and failures are Error
	// frames; a negative result means that not even such a frame could be made.
	ImportFetch  = "fetch"
	ImportOpen   = "open"
	HeaderStream = "Bulkhead-Stream"
)

// CapabilityModule returns the import module of a capability.
func CapabilityModule(name string) string { return ModulePrefix + name + ModuleSuffix }

// Status is the result of the session imports.
type Status int32

const (
	StatusOK      Status = 0
	StatusClosed  Status = -1 // the session has ended or lost its authority
	StatusInvalid Status = -2 // an invalid frame, length or stream
	StatusRefused Status = -3 // not possible in this state
)

// MayClose reports whether a plugin may close a session with this code (RFC 6455, section
// 7.4): 1000, or a private code except 4400 to 4599, which only the host uses.
func MayClose(code uint32) bool {
	return code == 1000 || code >= 4000 && code < 4400 || code >= 4600 && code < 5000
}

// Limits of every frame, in bytes and counts. They bound the memory that a decoder
// allocates when it knows only the lengths.
const (
	MaxFrame   = 16 << 20
	MaxBody    = 8 << 20
	MaxString  = 64 << 10 // any string except a body and config
	MaxHeaders = 256
	MaxList    = 4096 // any other list
)
