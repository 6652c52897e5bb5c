// Package guest is the plugin's side of the contract in sdk/abi: registration, the entries
// that the host calls, the buffers of frames, and calls to the host. The API for authors is
// in sdk, sessions are in sdk/session, and each capability's import is in that capability's
// package, so that a module imports only what the plugin uses.
//
// The package has two transports. In a build for wasip1, exports and imports are real.
// Otherwise they use the Host that sdk/sdktest installs; all other code is the same.
//
// One entry runs at a time. Registration happens in init functions, before the
// first entry.
package guest
