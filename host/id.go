package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bounds of ids, in bytes.
const (
	MaxID     = 253 // for an entry of the directory
	MaxUserID = 200 // for a user
)

// CanonicalID returns the canonical form of a user's or a team's id, in which it is kept
// and compared everywhere: in the directory, at sign-in, in policy, in the store, and as
// user and group in clusters. An id that contains "@" is an e-mail address and is written
// in lower case, since mail providers ignore case; only ASCII letters change. The same
// applies to GitHub's ids, such as "github:octocat". Any other id is unchanged, because
// issuers distinguish subjects that differ in case only (OpenID Connect Core 1.0, section
// 2). Names of roles are not ids and are compared unchanged.
func CanonicalID[T ~string](id T) T {
	if strings.IndexByte(string(id), '@') < 0 && !strings.HasPrefix(string(id), "github:") {
		return id
	}
	for i := range len(id) {
		if upper(id[i]) {
			b := []byte(id)
			for ; i < len(b); i++ {
				if upper(b[i]) {
					b[i] += 'a' - 'A'
				}
			}
			return T(b)
		}
	}
	return id
}

// CanonicalIDs returns list with each id in its canonical form. If that changes nothing, it
// returns list itself.
func CanonicalIDs(list []string) []string {
	if !slices.ContainsFunc(list, func(id string) bool { return CanonicalID(id) != id }) {
		return list
	}
	out := make([]string, len(list))
	for i, id := range list {
		out[i] = CanonicalID(id)
	}
	return out
}

func upper(c byte) bool { return c >= 'A' && c <= 'Z' }

// CheckID returns why s cannot be the id of a team or the name of a role, as the end of a
// sentence whose subject is the id. Ids are sent to API servers as identities, where
// "system:" is reserved for the cluster itself.
func CheckID(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > MaxID:
		return fmt.Errorf("is longer than %d bytes", MaxID)
	case len(s) >= len(systemPrefix) && strings.EqualFold(s[:len(systemPrefix)], systemPrefix):
		return errors.New(`begins with "system:", which is reserved for the cluster itself`)
	case strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f }):
		return errors.New("has a space or a character that is not printable ASCII")
	}
	return nil
}

const systemPrefix = "system:"

// CheckUserID is CheckID for the id of a user. It also refuses characters that no login
// method accepts, because logs, headers and paths could show such an id as another one.
func CheckUserID(s string) error {
	if err := CheckID(s); err != nil {
		return err
	}
	if len(s) > MaxUserID {
		return fmt.Errorf("is longer than %d bytes", MaxUserID)
	}
	if i := strings.IndexAny(s, `,"\`); i >= 0 {
		return fmt.Errorf("contains %q, which no login method accepts in a user id", s[i])
	}
	return nil
}
