package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/logtest"
)

// signInParts are the programs that setup.sh provides.
type signInParts struct{ dir, chromium, proxy string }

func getSignInParts(t *testing.T) signInParts {
	t.Helper()
	dir, err := filepath.Abs("testdata/signin")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", filepath.Join(dir, "setup.sh"))
	cmd.Stderr = os.Stderr // shows progress
	out, err := cmd.Output()
	if e, ok := errors.AsType[*exec.ExitError](err); ok && e.ExitCode() == 3 && os.Getenv("CI") == "" {
		t.Skip("what this test drives is not installed; see above")
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(out))
	if len(lines) != 2 {
		t.Fatalf("setup.sh prints %q", out)
	}
	return signInParts{dir, lines[0], lines[1]}
}

// node starts a script that ends with its standard input, and so with us.
func (p *signInParts) node(t *testing.T, script string, args ...string) (*exec.Cmd, io.WriteCloser, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command("node", append([]string{script}, args...)...)
	cmd.Dir, cmd.Stderr = p.dir, t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	return cmd, in, bufio.NewReader(out)
}

func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("%q, %v", s, err)
	}
	return strings.TrimSpace(s)
}

// provider starts a real provider. It serves once it knows its clients.
func (p *signInParts) provider(t *testing.T) (issuer string, serve func(clients ...map[string]any)) {
	t.Helper()
	_, in, out := p.node(t, "provider.mjs")
	issuer = line(t, out)
	return issuer, func(clients ...map[string]any) {
		t.Helper()
		text, err := json.Marshal(clients)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write(append(text, '\n')); err != nil {
			t.Fatal(err)
		}
		if got := line(t, out); got != "ready" {
			t.Fatal(got)
		}
	}
}

// drive runs a browser script to its end and decodes what it saw.
func (p *signInParts) drive(t *testing.T, into any, script string, args ...string) {
	t.Helper()
	cmd, in, out := p.node(t, script, append([]string{p.chromium, t.TempDir()}, args...)...)
	timer := time.AfterFunc(4*time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	text, err := io.ReadAll(out)
	in.Close()
	if err != nil || json.Unmarshal(text, into) != nil {
		t.Fatalf("%s saw %q, %v", script, text, err)
	}
}

// signInHost is a host without plugins whose only way in is auth.
func signInHost(t *testing.T, auth string, log io.Writer) *world {
	t.Helper()
	w := &world{dir: t.TempDir()}
	w.write(t, "directory/people.yaml", `apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: ann}
spec: {id: ann@example.com, profile: {fullName: Ann Lee}}
---
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: ada}
spec: {id: ada@example.com, roles: [admin]}
---
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: mallory}
spec: {id: mallory@example.com, roles: [admin]}
`)
	w.write(t, "client.secret", "a secret of the console's\n")
	w.write(t, "bulkhead.yaml", "listen: 127.0.0.1:0\ndata: ./data\ndirectory: {files: ./directory}\nauth:\n"+auth)
	c, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	end, err := w.serve(c, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Errorf("the host ended with %v", err)
		}
	})
	return w
}

type me struct {
	User  string
	Roles []string
	Error string
	Login struct{ Method string }
}

// The whole way with nothing of ours on the other side: npm's oidc-provider, and
// a browser that keeps cookies, follows redirects and decides what is cross-site
// as browsers do. BULKHEAD_SCREENSHOTS names a directory for pictures of it.
func TestABrowserSignsInAtARealProvider(t *testing.T) {
	parts := getSignInParts(t)
	issuer, serve := parts.provider(t)
	log := &logtest.Log{}
	w := signInHost(t, fmt.Sprintf(`
  oidc:
    - {name: corp, issuer: %q, clientID: console, clientSecretFile: ./client.secret, user: email, idDomains: [example.com],
       scopes: [email, profile, groups], teams: groups, map: {testers: {roles: [editor]}}}
`, issuer), log)
	serve(map[string]any{
		"client_id": "console", "client_secret": "a secret of the console's",
		"redirect_uris": []string{w.url + "/auth/callback/corp"},
	})
	type cookie struct {
		Name, Value, Path, SameSite string
		HTTPOnly                    bool `json:"httpOnly"`
		Secure                      bool
	}
	var seen struct {
		Page, Script, OtherTab, Foreign, ReplaySignedIn, Replay, ReplayText, Unverified, Denied string
		Cookie                                                                                  cookie
		CookieAfterLogout                                                                       *cookie
		Me, AfterRefresh, AfterForeign, AfterLogout                                             me
		Refresh                                                                                 struct{ Status int }
		Refreshed                                                                               bool
	}
	parts.drive(t, &seen, "browser.mjs", w.url, issuer, os.Getenv("BULKHEAD_SCREENSHOTS"))
	for what, ok := range map[string]bool{
		"the page greets the person":               strings.Contains(seen.Page, "Ann Lee"),
		"ann is signed in, an editor by her group": seen.Me.User == "ann@example.com" && len(seen.Me.Roles) == 1 && seen.Me.Roles[0] == "editor" && seen.Me.Login.Method == "oidc:corp",
		"the cookie is for the server alone":       seen.Cookie.HTTPOnly && seen.Cookie.SameSite == "Lax" && seen.Cookie.Path == "/" && seen.Script == "",
		"refresh gives another cookie":             seen.Refresh.Status == 200 && seen.Refreshed && seen.AfterRefresh.User == "ann@example.com",
		"another tab is signed in, too":            strings.Contains(seen.OtherTab, "Signed in"),
		"a foreign page cannot sign her out":       strings.Contains(seen.Foreign, "cross-site") && seen.AfterForeign.User == "ann@example.com",
		"a stale callback leads her home":          seen.ReplaySignedIn == w.url+"/",
		"sign-out signs out":                       seen.AfterLogout.User == "" && seen.AfterLogout.Error != "" && seen.CookieAfterLogout == nil,
		"a replayed callback is refused":           strings.HasPrefix(seen.Replay, w.url+"/login?error=csrf_validation_failed") && strings.Contains(seen.ReplayText, "not started in this browser"),
		"an unverified address is refused":         seen.Unverified == w.url+"/login?error=not_allowed&redirect=%2Flogin",
		"saying no at the provider is told":        strings.HasPrefix(seen.Denied, w.url+"/login?error=access_denied") && strings.HasSuffix(seen.Denied, "redirect=%2Flogin"),
	} {
		if !ok {
			t.Errorf("not so: %s", what)
		}
	}
	if t.Failed() {
		t.Logf("the browser saw %+v", seen)
	}
	// What an operator finds: who came and went, and why others did not; no secret.
	text := log.String()
	for _, want := range []string{`msg="signed in" user=ann@example.com`, `msg="signed out" user=ann@example.com`, "code=not_allowed", "has not verified", "code=access_denied"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %s", want)
		}
	}
	if strings.Contains(text, "secret of the console") || strings.Contains(text, seen.Cookie.Value) || strings.Contains(text, "code=ey") {
		t.Error("the log contains a secret")
	}
	if t.Failed() {
		t.Log(text)
	}
}

// A real oauth2-proxy in front: it says who somebody is, and nobody else does.
// The version is one that lets X_Forwarded_Email of a client pass
// (CVE-2025-64484), which then is the host's to stop.
func TestARealProxySignsInAndNobodyElseDoes(t *testing.T) {
	parts := getSignInParts(t)
	issuer, serve := parts.provider(t)
	port := freePort(t)
	front := "http://127.0.0.1:" + port
	w := signInHost(t, `
  proxy: {from: [127.0.0.1/32], user: X-Forwarded-Email, teams: X-Forwarded-Groups, map: {testers: {roles: [viewer]}}, signOut: /oauth2/sign_out}
publicURL: `+front, t.Output())
	serve(map[string]any{
		"client_id": "front", "client_secret": "a secret of the proxy's", "redirect_uris": []string{front + "/oauth2/callback"},
	})
	// It knows nothing of its standard input, so a shell ends it with us.
	proxy := exec.Command("bash", "-c", `"$@" </dev/null & cat >/dev/null; kill $!; wait`, "--", parts.proxy,
		"--http-address=127.0.0.1:"+port, "--provider=oidc", "--oidc-issuer-url="+issuer, "--client-id=front",
		"--client-secret=a secret of the proxy's", "--cookie-secret=0123456789abcdef0123456789abcdef", "--cookie-secure=false",
		"--email-domain=*", "--upstream=http://"+w.server.listener.Addr().String(), "--redirect-url="+front+"/oauth2/callback", "--skip-provider-button",
		"--pass-user-headers=true", "--scope=openid email profile groups", "--pass-host-header=false")
	var output bytes.Buffer
	proxy.Stdout, proxy.Stderr = &output, &output
	alive, err := proxy.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		alive.Close()
		_ = proxy.Wait()
		if t.Failed() {
			t.Log(output.String())
		}
	})
	eventually(t, "the proxy to listen", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	var seen struct {
		Page, Value               string
		Me, Spoofed, Form, Logout struct {
			me
			Status  int
			SignOut string
		}
	}
	parts.drive(t, &seen, "proxied.mjs", front)
	for what, ok := range map[string]bool{
		"the page greets the person":              strings.Contains(seen.Page, "Ann Lee"),
		"ann is signed in, a viewer by her group": seen.Me.User == "ann@example.com" && seen.Me.Login.Method == "proxy" && len(seen.Me.Roles) == 1 && seen.Me.Roles[0] == "viewer",
		"what her browser adds says nothing":      seen.Spoofed.User == "ann@example.com",
		"a form cannot sign her out":              seen.Form.Status == 403,
		"signing out names the proxy's":           seen.Logout.Status == 200 && seen.Logout.SignOut == "/oauth2/sign_out",
	} {
		if !ok {
			t.Errorf("not so: %s", what)
		}
	}
	if t.Failed() {
		t.Logf("the browser saw %+v", seen)
	}
	// From elsewhere the proxy's headers are nobody's, in any spelling.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext}}
	for _, name := range []string{"X-Forwarded-Email", "X_Forwarded_Email", "x-forwarded-email"} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+w.server.listener.Addr().String()+"/auth/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header[name] = []string{"ada@example.com"}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 401 {
			t.Errorf("%s from elsewhere: %d", name, resp.StatusCode)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// A proxy on the same machine may speak through a Unix socket: whoever may open
// it may say who they are, and nobody else can.
func TestAUnixSocketIsTheProxysDoor(t *testing.T) {
	w := &world{dir: t.TempDir()}
	w.write(t, "directory/people.yaml", "apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: ann}\nspec: {id: ann@example.com}\n")
	w.write(t, "bulkhead.yaml", "listen: unix:door\npublicURL: https://console.example.com\ndata: ./data\ndirectory: {files: ./directory}\nauth: {proxy: {from: [unix]}}\n")
	for range 2 { // the second time over the socket that the first left
		c, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
		if err != nil {
			t.Fatal(err)
		}
		end, err := w.serve(c, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		door := filepath.Join(w.dir, "door")
		if info, err := os.Stat(door); err != nil || info.Mode().Perm() != 0o660 {
			t.Errorf("%v, %v", info, err)
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", door)
		}}}
		for _, said := range []string{"ann@example.com", ""} {
			req, err := http.NewRequestWithContext(t.Context(), "GET", "http://console.example.com/auth/me", nil)
			if err != nil {
				t.Fatal(err)
			}
			if said != "" {
				req.Header.Set("X-Auth-Request-Email", said)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			var got me
			_ = json.NewDecoder(resp.Body).Decode(&got)
			resp.Body.Close()
			if got.User != said || (resp.StatusCode == 200) != (said != "") {
				t.Errorf("%q: %d %+v", said, resp.StatusCode, got)
			}
		}
		if _, err := Open(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("a second host at the same door: %v", err)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
}

// What one client sends without a good credential is bounded, told with
// Retry-After, and keeps neither probes out nor whoever is signed in there.
func TestAFloodFromOneClientKeepsNobodyElseOut(t *testing.T) {
	w := prepare(t, "")
	w.write(t, "bulkhead.yaml", read(t, filepath.Join(w.dir, "bulkhead.yaml"))+"limits: {rates: {client: 2, account: 3}}\n")
	w.open(t)
	vic, flood := w.as(t, "vic"), w.anonymous(t)
	if got := vic.get("/auth/me"); got.status != 200 {
		t.Fatal(got)
	}
	limited := answer{}
	for i := range 60 {
		got := flood.do("GET", "/auth/me", nil, http.Header{"Authorization": {fmt.Sprintf("Bearer x.y.%d", i)}})
		if got.status == 429 {
			limited = got
		}
	}
	if limited.status != 429 || limited.header.Get("Retry-After") == "" || !strings.Contains(limited.body, "too many requests") {
		t.Errorf("60 forgeries: %v, Retry-After %q", limited, limited.header.Get("Retry-After"))
	}
	expect(t, flood.get("/login"), 429, "the sign-in page for the flood's address")
	for _, path := range []string{"/healthz", "/readyz"} {
		expect(t, flood.get(path), 200, path)
	}
	expect(t, vic.get("/auth/me"), 200, "somebody signed in at the same address")
	expect(t, vic.post("/auth/logout", "{}"), 200, "and signing out")
}
