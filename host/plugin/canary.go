package plugin

import (
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// Canary selects the users who get a new generation first. A user whom one of the fields selects
// gets it; the others stay on the present generation.
type Canary struct {
	// Percent is the share of users, from 0 to 100. The choice is stable: all requests of a
	// user, on every replica, go to the same generation.
	Percent float64       `json:"percent,omitempty"`
	Users   []host.UserID `json:"users,omitempty"` // ids
	Roles   []string      `json:"roles,omitempty"` // names; users who have one of them
	Teams   []string      `json:"teams,omitempty"` // ids; members of one of them
	// PromoteAfter is the time after which the canary is promoted and serves all users,
	// unless it was rolled back; 0: it waits for an administrator.
	PromoteAfter host.Duration `json:"promoteAfter,omitempty"`
}

func (c *Canary) check(bad *config.Problems) {
	switch {
	case !(c.Percent >= 0 && c.Percent <= 100):
		bad.Add("percent", "%v must be from 0 to 100", c.Percent)
	case c.PromoteAfter < 0:
		bad.Add("promoteAfter", "must not be negative")
	case c.Percent == 0 && len(c.Users)+len(c.Roles)+len(c.Teams) == 0:
		bad.Add("", "selects no user; set percent, users, roles or teams")
	}
}

// pick returns the generation for p.
func (l *live) pick(p *host.Principal) *Generation {
	if l.canary != nil && p != nil && l.rule.selects(l.canary.digest, p) {
		return l.canary
	}
	return l.serving
}

func (c *Canary) selects(digest string, p *host.Principal) bool {
	in := func(list []string) func(string) bool {
		return func(s string) bool { return slices.Contains(list, s) }
	}
	return slices.Contains(c.Users, p.User) || slices.ContainsFunc(p.Roles, in(c.Roles)) || slices.ContainsFunc(p.Teams, in(c.Teams)) ||
		share(digest, string(p.User)) < c.Percent/100
}

// share maps a user to [0, 1). It includes the digest, so that each version selects other users.
func share(digest, user string) float64 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, s := range [...]string{digest, "\x00", user} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
	}
	h ^= h >> 33 // the finalizer of MurmurHash3: FNV's high bits hardly depend on the last bytes
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return float64(h>>11) / (1 << 53)
}
