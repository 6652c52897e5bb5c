package plugin

import (
	"encoding/json"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Config is one plugin of the operator's configuration.
type Config struct {
	// Name is the instance: it stands in paths, actions and permissions.
	Name string `json:"name"`
	// Source is the path of the plugin's .wasm file.
	Source string `json:"source"`
	// Grants is what the plugin may reach, by capability.
	Grants map[string][]capability.Grant `json:"grants,omitempty"`
	// Config is given to the plugin as it is.
	Config json.RawMessage `json:"config,omitempty"`
	Limits Limits          `json:"limits,omitzero"`
}

// Limits are the operator's bounds; a plugin's manifest may ask for less, never
// for more. A zero field takes the default.
type Limits struct {
	MemoryMiB int               `json:"memoryMiB,omitempty"` // of one instance; 64
	Instances int               `json:"instances,omitempty"` // running at a time; 64. One person may have a quarter of them
	Timeout   manifest.Duration `json:"timeout,omitempty"`   // of a unary call; 30s
	BodyBytes int               `json:"bodyBytes,omitempty"` // of a request; 1 MiB
}

// What a plugin gets when neither operator nor manifest says otherwise.
const (
	DefaultMemoryMiB = 64
	DefaultInstances = 64
	DefaultTimeout   = 30 * time.Second
	DefaultBodyBytes = 1 << 20
	MaxModuleBytes   = 32 << 20
)

// least returns the smallest of the positive ones among own, asked and def.
func least[T int | time.Duration](own, asked, def T) T {
	if own <= 0 {
		own = def
	}
	if asked > 0 && asked < own {
		return asked
	}
	return own
}
