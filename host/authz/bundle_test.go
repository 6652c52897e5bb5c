package authz

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/authz/internal/source"
)

// A bundle that does not hold together, or that somebody else made, changes
// nothing: what served before goes on, and readiness says why.
func TestABrokenBundleLeavesTheOldServing(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "ours", strings.Repeat("our secret of 32 bytes and more ", 2))
	write(t, dir, "theirs", strings.Repeat("another secret of 32 bytes, too ", 2))
	pack := func(text, key string) string {
		t.Helper()
		var s *source.Signing
		if key != "" {
			s = &source.Signing{KeyFile: filepath.Join(dir, key), Algorithm: "HS256", KeyID: "ops"}
		}
		c := &source.Content{Data: map[string]any{}}
		if text != "" {
			c.Modules = []source.Module{{Name: "policy.rego", Text: []byte(text)}}
		}
		var b bytes.Buffer
		if err := source.Pack(&b, c, "r", s); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	good := pack(freeze, "ours")
	write(t, dir, "b.tar.gz", good)
	e, err := Open(t.Context(), Config{
		Source: Source{Bundle: &Bundle{
			File: filepath.Join(dir, "b.tar.gz"),
			Keys: []Key{{ID: "ops", File: filepath.Join(dir, "ours"), Algorithm: "HS256"}},
		}},
		Directory: staff(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	upgrade := ask(ada, "gitops", "helm.upgrade")
	upgrade.Route.Mutates = true
	for name, c := range map[string]struct{ bundle, says string }{
		"no signature":    {pack(freeze, ""), "signature"},
		"another's":       {pack(freeze, "theirs"), "verif"},
		"syntax":          {pack(broken["syntax"].text, "ours"), "policy.rego:"},
		"missing package": {pack("package bulkhead.autz\n\ndecision := true\n", "ours"), "is a package misspelt?"},
		"wrong type":      {pack("package bulkhead.authz\n\ndecision := 1 + \"a\"\n", "ours"), "policy.rego:3"},
		"failing tests":   {pack(broken["failing test"].text, "ours"), "policy.rego:11"},
		"no policy in it": {pack("", "ours"), ""},
		"empty file":      {"", ""},
		"cut short":       {good[:len(good)/2], ""},
	} {
		serving := e.Revision()
		write(t, dir, "b.tar.gz", c.bundle)
		await(t, name, func() bool { err := e.Ready(); return err != nil && strings.Contains(err.Error(), c.says) })
		if d := e.Decide(t.Context(), upgrade); d.Reason.Code != "freeze" || d.Revision != serving {
			t.Errorf("%s: revision %d decided %+v", name, e.Revision(), d)
		}
		t.Logf("%s: %v", name, e.Ready())
		write(t, dir, "b.tar.gz", good)
		await(t, "repair", func() bool { return e.Ready() == nil })
	}
}
