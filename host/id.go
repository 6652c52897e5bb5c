package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bounds of ids, in bytes.
const (
	MaxID     = 253 // of any entry of the directory
	MaxUserID = 200 // of a user
)

// CanonicalID returns the form of a user's or a team's id in which it is kept
// and compared, everywhere: in the directory, at sign-in, in policy, in the
// store, and as user and group in clusters. An id that contains "@" is an e-mail
// address and counts in lower case, as mail providers treat it; only the ASCII
// letters change. So does one of GitHub, "github:octocat", which does not tell
// logins apart by case. Any other id counts as it is written, because issuers
// tell apart subjects that differ in case alone (OpenID Connect Core 1.0, section
// 2). Names of roles are not ids and are compared as they are written.
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

// CanonicalIDs returns list with each id in its canonical form; it is list itself
// where that changes nothing.
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

// CheckID returns why s cannot be the id of a team or the name of a role, as
// the end of a sentence that begins with what it is. Ids are sent to API servers
// as identities, where "system:" belongs to the cluster itself.
func CheckID(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > MaxID:
		return fmt.Errorf("is longer than %d bytes", MaxID)
	case len(s) >= len(systemPrefix) && strings.EqualFold(s[:len(systemPrefix)], systemPrefix):
		return errors.New(`begins with "system:", which belongs to the cluster itself`)
	case strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f }):
		return errors.New("has a space or a character that is not printable ASCII")
	}
	return nil
}

const systemPrefix = "system:"

// CheckUserID is CheckID for the id of a user. It also refuses what no login
// method accepts, because logs, headers and paths could show it as something
// else.
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
