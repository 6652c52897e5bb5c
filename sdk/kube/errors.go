package kube

import (
	"errors"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// IsNotFound reports whether the cluster has no object, or no kind, of this name. A cluster that
// the host does not know is another error.
func IsNotFound(err error) bool { return answered(err, 404) }

// IsExists reports whether an object could not be created because it exists.
func IsExists(err error) bool {
	e, ok := errors.AsType[*sdk.Error](err)
	return ok && answered(err, 409) && strings.HasSuffix(e.Message, "already exists")
}

// IsConflict reports whether an object could not be changed because it has changed since it was
// read, or because another field manager owns a field: then err is a *ConflictError.
func IsConflict(err error) bool { return answered(err, 409) && !IsExists(err) }

// IsExpired reports whether a resourceVersion or a continue token is too old. List again.
func IsExpired(err error) bool { return answered(err, 410) }

func answered(err error, status int) bool {
	e, ok := errors.AsType[*sdk.Error](err)
	return ok && e.Status == status && e.Origin == abi.OriginUpstream
}

// Denier is who denied a call.
type Denier string

// Those who can deny a call.
const (
	NotDenied Denier = ""        // the error is another, or there is none
	ByPolicy  Denier = "policy"  // policy: a role lacks the permission
	ByGrant   Denier = "grant"   // the operator has not granted it to the plugin
	ByCluster Denier = "cluster" // the cluster's own RBAC or admission
	ByHost    Denier = "host"    // a rule of the host, such as that a route may only read
)

// DeniedBy returns who denied a call with status 403.
func DeniedBy(err error) Denier {
	e, ok := errors.AsType[*sdk.Error](err)
	if !ok || e.Status != 403 {
		return NotDenied
	}
	switch e.Origin {
	case abi.OriginPolicy:
		return ByPolicy
	case abi.OriginGrant:
		return ByGrant
	case abi.OriginUpstream:
		return ByCluster
	}
	return ByHost
}

// ConflictError says which fields of an Apply others own.
type ConflictError struct {
	Err    *sdk.Error // with the API server's message
	Fields []FieldConflict
}

// FieldConflict is one field that another manager owns.
type FieldConflict struct {
	Field   string // such as .spec.replicas
	Message string // such as conflict with "kubectl" using apps/v1
}

// Error returns the API server's message.
func (e *ConflictError) Error() string { return e.Err.Error() }

// Unwrap returns the *sdk.Error, so that a handler can return a ConflictError as it is.
func (e *ConflictError) Unwrap() error { return e.Err }

// conflicts makes the error of an apply typed. The host writes a line FIELD: MESSAGE for each
// field into the detail.
func conflicts(err error) error {
	e, ok := errors.AsType[*sdk.Error](err)
	if !ok || !answered(err, 409) || e.Detail == "" {
		return err
	}
	typed := &ConflictError{Err: e}
	for line := range strings.Lines(e.Detail) {
		field, message, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			return err
		}
		typed.Fields = append(typed.Fields, FieldConflict{field, message})
	}
	return typed
}
