// Package guest is the plugin's side of the contract in sdk/abi: what is
// registered, the entries that the host calls, the buffers that frames cross
// in, and calls back to the host. It leaves the author's vocabulary to sdk,
// sessions to sdk/session and each capability's import to that capability's
// package, so that a module imports only what the plugin uses.
//
// There are two transports. Built for wasip1, exports and imports are real.
// Otherwise they go through the Host that sdk/sdktest installs; the code
// between is the same.
//
// One entry runs at a time. Registration happens in init functions, before the
// first entry.
package guest
