package host

import (
	"errors"
	"fmt"
	"testing"
)

func TestEveryEndCauseHasItsOwnNameAndSentence(t *testing.T) {
	names, sentences := map[string]bool{"": true}, map[string]bool{"": true}
	for _, c := range endCauses {
		if names[c.Name] || sentences[c.Err.Message] {
			t.Errorf("%q (%q) is there twice", c.Name, c.Err.Message)
		}
		names[c.Name], sentences[c.Err.Message] = true, true
		if EndCauseNamed(c.Name) != c || EndCauseOf(c.Err) != c || EndCauseOf(fmt.Errorf("while reading: %w", c.Err)) != c {
			t.Errorf("%q is not found by its name and its error", c.Name)
		}
	}
	if EndCauseNamed("") != nil || EndCauseNamed("none") != nil || EndCauseOf(nil) != nil || EndCauseOf(errors.New("logged out")) != nil {
		t.Error("a cause was found that there is not")
	}
}

// A close code says why the host ended a session. That an error has the same kind
// as a cause does not make it that cause.
func TestACloseCodeFollowsFromTheCauseAndNotFromTheKind(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   int
		reason string
	}{
		{nil, 1000, ""},
		{ErrDone, 1000, "session is done"},
		{ErrLoggedOut, 4401, "logged out"},
		{ErrLoginExpired, 4401, "login expired"},
		{ErrRevoked, 4401, "session ended by an administrator"},
		{ErrNoLonger, 4403, "no longer permitted"},
		{ErrIdle, 4408, "session was idle too long"},
		{ErrTooLong, 4408, "session reached its time limit"},
		{ErrEnded, 4410, "session ended by its owner"},
		{ErrShutdown, 1012, "host is shutting down"},
		{ErrSwapped, 1012, "plugin was replaced"},
		{ErrFenced, 1012, "the state store does not answer"},
		{ErrClientGone, 1001, "client went away"},
		{fmt.Errorf("splice: %w", ErrIdle), 4408, "session was idle too long"},
		{E(Conflict, "helm.upgrade", "another operation is in progress"), 1011, "another operation is in progress"},
		{E(Unauthenticated, "", "the cluster wants a token"), 1011, "the cluster wants a token"},
		{E(Forbidden, "", "a rule of the cluster"), 1011, "a rule of the cluster"},
		{E(Timeout, "", "the plugin took too long"), 1011, "the plugin took too long"},
		{E(Unavailable, "", "busy"), 1011, "busy"},
		{errors.New("a private matter"), 1011, "internal error"},
	} {
		if code, reason := CloseCode(c.err); code != c.code || reason != c.reason {
			t.Errorf("%v: %d %q, want %d %q", c.err, code, reason, c.code, c.reason)
		}
	}
}
