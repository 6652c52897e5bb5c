package authn

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const aVerifier = "a-secret-of-the-program-that-only-it-knows"

func allow(b *browser, verifier string) (code string) {
	b.t.Helper()
	got := b.do("POST", "/auth/cli", `{"challenge":"`+CLIChallenge(verifier)+`"}`)
	b.wantStatus(got, 200)
	code, _ = got.body["code"].(string)
	return code
}

func exchange(b *browser, code, verifier string) reply {
	b.t.Helper()
	return b.do("POST", "/auth/cli/token", `{"code":"`+code+`","verifier":"`+verifier+`"}`)
}

// The program gets a login of its own: it renews and ends it without the browser's.
func TestAProgramSignsInThroughTheBrowser(t *testing.T) {
	f := setUp(t)
	srv := f.serve(t)
	ann, program := f.browser(t, srv), f.browser(t, srv)
	page := "/auth/cli?challenge=" + CLIChallenge(aVerifier) + "&port=1234&state=s"
	first := ann.do("GET", page, "")
	to, err := url.Parse(first.header.Get("Location"))
	if err != nil || first.status != 303 || to.Path != "/login" || !strings.HasPrefix(to.Query().Get("redirect"), "/auth/cli?") {
		t.Fatalf("not signed in: %d %v", first.status, first.header)
	}
	ann.signIn("ann")
	shown := ann.do("GET", to.Query().Get("redirect"), "")
	ann.wantStatus(shown, 200)
	for _, part := range []string{"Ann Lee", CLICheck(CLIChallenge(aVerifier)), `"1234"`, CLIChallenge(aVerifier)} {
		if !strings.Contains(shown.text, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	if policy := shown.header.Get("Content-Security-Policy"); !strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("the page may be framed, or load things: %q", policy)
	}
	got := exchange(program, allow(ann, aVerifier), aVerifier)
	program.wantStatus(got, 200)
	token := program.cookie()
	if token == "" || strings.Contains(got.text, token) || got.body["user"] != "ann" || got.body["expires"] == nil {
		t.Fatalf("the answer is %s, %v", got.text, got.header)
	}
	bearer := func(method, path, body string) reply {
		return f.browser(t, srv).do(method, path, body, "Authorization", "Bearer "+token)
	}
	program.wantStatus(bearer("GET", "/auth/me", ""), 200)
	renewed := bearer("POST", "/auth/refresh", "")
	program.wantStatus(renewed, 200)
	if !strings.Contains(renewed.header.Get("Set-Cookie"), "bulkhead=") {
		t.Errorf("a refresh sets %q", renewed.header.Get("Set-Cookie"))
	}
	browsers, _ := f.Resolve(request("GET", "", ann.cookie()))
	programs, _ := f.Resolve(request("GET", "Bearer "+token, ""))
	if browsers.Login.ID == programs.Login.ID || !programs.Login.Until.Equal(browsers.Login.Until) {
		t.Errorf("the browser's login %+v, the program's %+v", browsers.Login, programs.Login)
	}
	program.wantStatus(bearer("POST", "/auth/logout", `{"scope":"login"}`), 200)
	program.wantStatus(bearer("GET", "/auth/me", ""), 401)
	ann.wantStatus(ann.do("GET", "/auth/me", ""), 200)
}

func TestACodeIsForOneProgramOnceAndSoon(t *testing.T) {
	f := setUp(t)
	srv := f.serve(t)
	ann, other := f.browser(t, srv), f.browser(t, srv)
	ann.signIn("ann")
	code := allow(ann, aVerifier)
	other.wantStatus(exchange(other, code, "another-secret"), 401)
	other.wantStatus(exchange(other, code[:len(code)-4]+"AAAA", aVerifier), 401)
	other.wantStatus(exchange(other, ann.cookie(), aVerifier), 401)
	other.wantStatus(exchange(other, strings.Repeat("x", maxToken+1), aVerifier), 413)
	other.wantStatus(exchange(other, "", ""), 400)
	other.wantStatus(other.do("POST", "/auth/cli/token", `{"code":"`+code+`","verifier":"`+aVerifier+`"}`, "Content-Type", "text/plain"), 400)
	other.wantStatus(other.do("POST", "/auth/cli/token", `{"code":"`+code+`","verifier":"`+aVerifier+`"}`, "Sec-Fetch-Site", "cross-site"), 403)
	other.wantStatus(exchange(other, code, aVerifier), 200)
	other.wantStatus(exchange(other, code, aVerifier), 401)
	if _, err := f.Resolve(request("GET", "Bearer "+code, "")); err == nil {
		t.Error("a code is taken for a token")
	}

	_, p := f.signIn(t, "ann")
	old := codeOf(t, f, p, time.Now().Add(-time.Second))
	other.wantStatus(exchange(other, old, aVerifier), 401)
	ended := codeOf(t, f, p, time.Now().Add(time.Minute))
	if err := f.store.EndLogin(t.Context(), p.Login.ID); err != nil {
		t.Fatal(err)
	}
	other.wantStatus(exchange(other, ended, aVerifier), 401)
}

func codeOf(t *testing.T, f *fixture, p *host.Principal, expires time.Time) string {
	t.Helper()
	c := code{Login: p.Login.ID, Challenge: CLIChallenge(aVerifier)}
	c.Issuer, c.Audience, c.ID, c.Subject = f.issuer, jwt.ClaimStrings{codePurpose}, expires.String(), string(p.User)
	c.ExpiresAt = jwt.NewNumericDate(expires)
	text, err := f.signAs(codeType, c)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A page of another site can neither allow a program nor have the code sent elsewhere.
func TestOnlyTheHostsOwnPageAllowsAProgram(t *testing.T) {
	f := setUp(t)
	ann := f.browser(t, f.serve(t))
	body := `{"challenge":"` + CLIChallenge(aVerifier) + `"}`
	ann.wantStatus(ann.do("POST", "/auth/cli", body), 401)
	ann.signIn("ann")
	ann.wantStatus(ann.do("POST", "/auth/cli", body, "Sec-Fetch-Site", "cross-site"), 403)
	ann.wantStatus(ann.do("POST", "/auth/cli", body, "Origin", "https://evil.example"), 403)
	ann.wantStatus(ann.do("POST", "/auth/cli", `{"challenge":"short"}`), 400)
	for _, query := range []string{
		"", "challenge=short", "challenge=" + CLIChallenge("x") + "&port=evil.example", "challenge=" + CLIChallenge("x") + "&port=080",
		"challenge=" + CLIChallenge("x") + "&port=0", "challenge=" + CLIChallenge("x") + "&port=65536", "challenge=" + CLIChallenge("x") + "&state=" + strings.Repeat("s", 65),
	} {
		ann.wantStatus(ann.do("GET", "/auth/cli?"+query, ""), 400)
	}
}

// asOperator is a request over the admin socket.
func asOperator(r *http.Request) *http.Request {
	return r.WithContext(AsOperator(r.Context(), "local uid 1 process 2"))
}

func TestTheAdminSocketIsTheOperatorAndNobodyElse(t *testing.T) {
	f := setUp(t, func(c *Config) { c.Directory.(*people).unlisted, c.Directory.(*people).mirror = true, true })
	raw, _ := f.signIn(t, "ann")
	var id host.LoginID
	for range 2 {
		p, err := f.Resolve(asOperator(request("GET", "Bearer "+raw, raw)))
		if err != nil {
			t.Fatal(err)
		}
		if p.User != operatorID || p.Login.Method != methodOperator || len(p.Roles) != 1 || p.Roles[0] != "admin" || p.RefreshDue {
			t.Errorf("the operator is %+v", p.Principal)
		}
		if id != "" && id != p.Login.ID {
			t.Error("each request makes a login")
		}
		id = p.Login.ID
	}
	if err := f.store.EndLogin(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	p, err := f.Resolve(asOperator(request("GET", "", "")))
	if err != nil || p.Login.ID == id {
		t.Errorf("after the login ended: %+v, %v", p, err)
	}
	if got := f.RemoteAddr(asOperator(request("GET", "", ""))); got != "local uid 1 process 2" {
		t.Errorf("the peer is %q", got)
	}
	if p, err := f.Resolve(request("GET", "Bearer "+raw, "")); err != nil || p.User != "ann" {
		t.Errorf("elsewhere: %+v, %v", p, err)
	}
	if _, _, err := f.Issue(t.Context(), Identity{Issuer: "dev", Subject: "x", User: operatorID, Method: "dev"}); host.KindOf(err) != host.Unauthenticated {
		t.Errorf("another login method vouches for %s: %v", operatorID, err)
	}
}

func TestTheDirectoryMayDisableTheOperator(t *testing.T) {
	f := setUp(t) // whose directory lists its users only
	if _, err := f.Resolve(asOperator(request("GET", "", ""))); host.KindOf(err) != host.Unauthenticated {
		t.Errorf("an operator who is disabled: %v", err)
	}
}
