package kube

import (
	"net/url"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// ApplyOptions are those of Apply.
type ApplyOptions struct {
	Manager string // the field manager, required: the owner of the fields that the object sets
	// Force takes over fields that other managers own. Without it they are a *ConflictError.
	Force  bool
	DryRun bool // checks everything and stores nothing
}

// Apply makes the object at path have the fields of object, which has apiVersion, kind and
// metadata.name, and creates it if it does not exist (server-side apply). Grant and policy
// need the verbs patch and create. The result is read into out, unless out is nil. An object of
// type []byte or json.RawMessage is sent unchanged and may be YAML; any other is sent as JSON.
//
// https://kubernetes.io/docs/reference/using-api/server-side-apply/
func (c Cluster) Apply(path string, object any, o ApplyOptions, out any) error {
	if o.Manager == "" {
		return &abi.Error{Code: abi.CodeInvalid, Status: 400, Message: "the field manager of an apply is required"}
	}
	query := url.Values{"fieldManager": {o.Manager}, "fieldValidation": {"Strict"}}
	if o.Force {
		query.Set("force", "true")
	}
	if o.DryRun {
		query.Set("dryRun", "All")
	}
	return conflicts(c.do("PATCH", path+"?"+query.Encode(), string(ApplyPatch), object, out))
}
