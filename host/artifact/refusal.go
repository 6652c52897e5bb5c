package artifact

import (
	"errors"
	"fmt"
)

// Step is a stage of fetching an artifact. Each has to pass before the next begins.
type Step string

const (
	StepReference Step = "reference" // reading the reference and the verification policy
	StepFetch     Step = "fetch"     // getting manifest, file and signatures, within bounds
	StepDigest    Step = "digest"    // comparing content with the digests that name it
	StepSignature Step = "signature" // verifying signatures under the policy
	StepFormat    Step = "format"    // a first look at the content
)

// Refusal is why an artifact is not used. Its text is one sentence: what was refused,
// in which step, and what to do.
type Refusal struct {
	Origin string // the reference, without secrets
	Step   Step
	Field  string // of the configuration that the refusal is about, such as "verification.anyOf[0].key"; or empty
	Text   string // what is wrong, and after a semicolon what to do
	Err    error  // the cause, or nil; ErrUnreachable if the place did not answer
}

func (r *Refusal) Error() string {
	field := ""
	if r.Field != "" {
		field = r.Field + ": "
	}
	return fmt.Sprintf("%s: %s: %s%s", r.Origin, r.Step, field, r.Text)
}

func (r *Refusal) Unwrap() error { return r.Err }

// ErrUnsigned is what every Refusal of StepSignature is, also beside other errors.
var ErrUnsigned = errors.New("no signature that the policy accepts")

// Is makes errors.Is find ErrUnsigned.
func (r *Refusal) Is(target error) bool { return target == ErrUnsigned && r.Step == StepSignature }

// refuse makes a Refusal about a reference. Inside the package the origin may be left
// to the caller that knows it.
func refuse(step Step, field, format string, args ...any) *Refusal {
	err := fmt.Errorf(format, args...) // which wraps the causes
	return &Refusal{Step: step, Field: field, Text: err.Error(), Err: err}
}

// about completes err with the origin; what is not a Refusal yet becomes one of step.
func about(r Reference, step Step, err error) error {
	if err == nil {
		return nil
	}
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok {
		refusal = &Refusal{Step: step, Text: err.Error(), Err: err}
	}
	if refusal.Origin != "" {
		return refusal
	}
	with := *refusal
	with.Origin = r.Origin()
	return &with
}
