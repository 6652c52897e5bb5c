package authn

import (
	"strings"
	"testing"
)

func TestThePageListsTheLoginMethods(t *testing.T) {
	_, p, b := withIDP(t)
	page := b.do("GET", "/login?error=not_allowed&error_description=%3Cscript%3E&redirect=//evil.example", "")
	for _, want := range []string{`href="/auth/login?method=corp&amp;redirect=%2F"`, errorTexts["not_allowed"], "&lt;script&gt;", `id="dev"`} {
		if !strings.Contains(page.text, want) {
			t.Errorf("the page lacks %q: %s", want, page.text)
		}
	}
	if csp := page.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("policy %q", csp)
	}
	if strings.Contains(page.text, "evil.example") {
		t.Error("the page leads to another site")
	}
	b.signInAt(p)
	if page := b.do("GET", "/login", ""); !strings.Contains(page.text, "Ann Lee") || !strings.Contains(page.text, "Sign out") {
		t.Errorf("signed in: %s", page.text)
	}
}
