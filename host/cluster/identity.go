package cluster

import (
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

// Limits of an identity; its headers stay far below the limits of API servers.
const (
	maxGroups   = 512
	maxNameSize = 512
)

// admissible refuses identities that the host must never impersonate.
func admissible(user *host.Impersonation) error {
	switch {
	case user == nil || strings.TrimSpace(user.User) == "":
		return &host.Error{Kind: host.Forbidden, Op: op, Message: "the decision has no identity to impersonate in the cluster"}
	case len(user.Groups) > maxGroups:
		return host.E(host.Forbidden, op, "the identity has more than %d groups", maxGroups)
	}
	for i, name := range append([]string{user.User}, user.Groups...) {
		if bad := reserved(name); bad != "" {
			what := "user"
			if i > 0 {
				what = "group"
			}
			return host.E(host.Forbidden, op, "impersonating %s %q is refused: it %s", what, text.Short(name), bad)
		}
	}
	return nil
}

func reserved(name string) string {
	switch {
	case strings.TrimSpace(name) == "":
		return "is empty"
	case len(name) > maxNameSize:
		return "is too long"
	// HTTP drops white space at both ends of header values.
	case strings.TrimSpace(name) != name:
		return "begins or ends with white space"
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "contains control characters"
	case strings.HasPrefix(strings.ToLower(name), "system:"):
		return "belongs to Kubernetes itself"
	}
	return ""
}
