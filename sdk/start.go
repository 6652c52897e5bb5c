package sdk

import (
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Start is the data that the host passes to a plugin once.
type Start struct{ s *abi.Start }

// Instance returns the plugin's name in the operator's config.
func (s *Start) Instance() string { return s.s.Instance }

// Config decodes the operator's config for this plugin into v. A key that v does not have
// is an error, so that a misspelt key is noticed. Without a config, v is unchanged.
func (s *Start) Config(v any) error {
	if len(s.s.Config) == 0 {
		return nil
	}
	if err := decodeStrict(s.s.Config, v); err != nil {
		return &Error{Status: 500, Message: "config: " + err.Error()}
	}
	return nil
}

// Denied reports whether an optional capability was not granted. Calls to it
// are refused with 403.
func (s *Start) Denied(capability string) bool { return slices.Contains(s.s.Denied, capability) }
