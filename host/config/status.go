package config

import "time"

// Status is which configuration serves.
type Status struct {
	File     string    `json:"file,omitempty"` // that is followed; "" if there is none
	Revision string    `json:"revision"`       // digest of the configuration
	Since    time.Time `json:"since"`          // when it began to serve
	// Refused is the last attempt to load another one, if that failed.
	Refused *Refusal `json:"refused,omitempty"`
}

// Refusal is why a configuration does not serve.
type Refusal struct {
	At time.Time `json:"at"`
	// Reason has a line for each problem, with file, line and field where they are known.
	Reason string `json:"reason"`
}

// Outcome is what came of a reload.
type Outcome string

const (
	Applied   Outcome = "applied"
	Unchanged Outcome = "unchanged"
	Checked   Outcome = "checked" // of a dry run: it is well-formed, and nothing of it was opened
)

// Report is how a reload went.
type Report struct {
	Outcome  Outcome  `json:"outcome"`
	Revision string   `json:"revision"` // digest of the configuration that was read
	Changes  []Change `json:"changes"`  // to the one that serves, or that served before
	// Plugins says what became of each plugin that is not as before, by name; see
	// plugin.Outcome, and "removed".
	Plugins map[string]string `json:"plugins,omitempty"`
}
