package capability

import (
	"net/url"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestTargetsThatTwoReadersCouldReadDifferently(t *testing.T) {
	for _, raw := range []string{
		"", "kube:", "kube://", "http://dev/x", "KUBE://dev/x", "kube:///x", "kube://dev/", "kube://dev//x", "kube://dev/x/",
		"kube://dev/../x", "kube://dev/./x", "kube://dev/x/..", "kube://dev/%2e%2e/x", "kube://dev/a%2fb", "kube://dev/a;b",
		"kube://dev/a\\b", "kube://dev/a b", "kube://dev/a\x00", "kube://dev/a#f", "kube://user@dev/x", "kube://dev:443/x",
		"kube://DEV/x", "kube://dev/x?a=1&a=2", "kube://dev/x?a=%zz", "kube://dev/x?a;b", "kube://dev/x?a=1#f", "kube://dev/é",
		"kube://dev" + strings.Repeat("/x", maxSegments), "kube://dev/" + strings.Repeat("x", 254),
	} {
		if got, err := ParseTarget("kube", raw); host.KindOf(err) != host.Invalid {
			t.Errorf("%q was read as %+v, %v", raw, got, err)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"kube://dev/api/v1/pods?limit=1", "kube://dev/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node", "kube://dev/..", "kube://dev/%2e%2e/x?a=b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		target, err := ParseTarget("kube", raw)
		if err != nil {
			if host.KindOf(err) != host.Invalid {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		path := "/" + strings.Join(target.Segments, "/")
		u, err := url.Parse("https://api.invalid" + path)
		if err != nil || u.Host != "api.invalid" || u.Path != path || u.EscapedPath() != path || u.RawQuery != "" || u.Fragment != "" {
			t.Fatalf("%q becomes %q, which is read as %+v", raw, path, u)
		}
		if clean := u.JoinPath().Path; path != "/" && clean != path {
			t.Fatalf("%q becomes %q, which cleans to %q", raw, path, clean)
		}
	})
}
