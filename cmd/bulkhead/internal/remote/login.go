package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/authn"
)

// Login is a login at a host, as it is kept in a file of the user's own.
type Login struct {
	URL     string    `json:"url"`
	User    string    `json:"user"`
	Token   string    `json:"token"`
	At      time.Time `json:"at"`      // when the token was made
	Expires time.Time `json:"expires"` // of the token
	Until   time.Time `json:"until"`   // of the login
}

// Logins is the file that keeps logins: one for each host, for the user alone.
type Logins struct{ Path string }

// DefaultLogins is the file below the user's configuration directory.
func DefaultLogins() (Logins, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return Logins{}, err
	}
	return Logins{filepath.Join(dir, "bulkhead", "logins.json")}, nil
}

const maxLogins = 1 << 20 // bytes of the file

func (l Logins) load() (map[string]Login, error) {
	f, err := os.Open(l.Path)
	if errors.Is(err, os.ErrNotExist) {
		return map[string]Login{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s can be read by others (mode %v): run chmod 600 %s, and sign in again if others may have read it", l.Path, info.Mode().Perm(), l.Path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxLogins))
	if err != nil {
		return nil, err
	}
	all := map[string]Login{}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s cannot be read; remove it and sign in again: %w", l.Path, err)
	}
	return all, nil
}

// change edits the file, which is either the old or the new one at any time.
func (l Logins) change(edit func(map[string]Login)) error {
	all, err := l.load()
	if err != nil {
		return err
	}
	edit(all)
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(l.Path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".logins-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), l.Path)
}

// ErrSignIn is the error of a host without a login that is good.
var ErrSignIn = errors.New("not signed in")

// Client is the host at a URL, with the login that is kept for it. A token past half
// of its life is renewed.
func (l Logins) Client(text string) (*Client, error) {
	base, err := parseURL(text)
	if err != nil {
		return nil, err
	}
	c := &Client{Where: base, base: base, http: client(&http.Transport{Proxy: http.ProxyFromEnvironment})}
	c.token = func(ctx context.Context) (string, error) {
		all, err := l.load()
		if err != nil {
			return "", err
		}
		now, login := time.Now(), all[base]
		switch {
		case login.Token == "":
			return "", fmt.Errorf("%w at %s: run bulkhead login %s", ErrSignIn, base, base)
		case !now.Before(login.Expires):
			return "", fmt.Errorf("%w at %s any more, since %s: run bulkhead login %s", ErrSignIn, base, login.Expires.Local().Format(time.RFC3339), base)
		case now.Sub(login.At) > login.Expires.Sub(login.At)/2 && login.Expires.Before(login.Until.Add(-time.Second)):
			if fresh, err := refresh(ctx, c.http, login); err == nil {
				login = fresh
				if err := l.change(func(all map[string]Login) { all[base] = fresh }); err != nil {
					return "", err
				}
			} // otherwise the old one is good for a while, or the host says why not
		}
		return login.Token, nil
	}
	return c, nil
}

// refresh renews a token (POST /auth/refresh). The host answers with a cookie, so that
// a token is in no body.
func refresh(ctx context.Context, h *http.Client, login Login) (Login, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, login.URL+"/auth/refresh", strings.NewReader("{}"))
	if err != nil {
		return login, err
	}
	req.Header.Set("Authorization", "Bearer "+login.Token)
	return takeToken(h, req, login)
}

// takeToken sends a request whose answer sets the cookie to a token.
func takeToken(h *http.Client, req *http.Request, login Login) (Login, error) {
	req.Header.Set("Content-Type", "application/json")
	resp, err := h.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return login, fmt.Errorf("%s: %w", login.URL, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return login, err
	}
	if resp.StatusCode != http.StatusOK {
		e := &Error{}
		_ = json.Unmarshal(text, e)
		e.Status = resp.StatusCode
		return login, e
	}
	var answer struct {
		User    string
		Expires time.Time
		Login   struct{ Until time.Time }
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return login, fmt.Errorf("%s: the answer cannot be read: %w", login.URL, err)
	}
	token := ""
	for _, c := range resp.Cookies() {
		if c.Name == "__Host-bulkhead" || c.Name == "bulkhead" {
			token = c.Value
		}
	}
	if token == "" || answer.Expires.IsZero() {
		return login, fmt.Errorf("%s: the answer has no token; is this a Bulkhead host?", login.URL)
	}
	login.Token, login.At, login.Expires = token, time.Now().UTC().Truncate(time.Second), answer.Expires
	if answer.User != "" {
		login.User, login.Until = answer.User, answer.Login.Until
	}
	return login, nil
}

// SignIn is how a user signs a program in.
type SignIn struct {
	// Open shows a URL to the user, in a browser if there is one, together with the
	// check that the page shows too.
	Open func(address, check string)
	// Code, if not nil, asks the user for the code that the page shows; otherwise the page
	// sends it to a loopback port.
	Code func(context.Context) (string, error)
}

// signInTime bounds a sign-in.
const signInTime = 10 * time.Minute

// SignIn signs in at the host of a URL through the user's browser, and keeps the login.
func (l Logins) SignIn(ctx context.Context, text string, s SignIn) (Login, error) {
	base, err := parseURL(text)
	if err != nil {
		return Login{}, err
	}
	if _, err := l.load(); err != nil { // before the user takes any trouble
		return Login{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, signInTime)
	defer cancel()
	verifier := rand.Text() + rand.Text()
	challenge := authn.CLIChallenge(verifier)
	query := url.Values{"challenge": {challenge}}
	code := s.Code
	if code == nil {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return Login{}, err
		}
		state := rand.Text()
		query.Set("port", fmt.Sprint(listener.Addr().(*net.TCPAddr).Port))
		query.Set("state", state)
		wait := receive(listener, state)
		code = wait
	}
	s.Open(base+"/auth/cli?"+query.Encode(), authn.CLICheck(challenge))
	got, err := code(ctx)
	if err != nil {
		return Login{}, err
	}
	body, err := json.Marshal(map[string]string{"code": strings.TrimSpace(got), "verifier": verifier})
	if err != nil {
		return Login{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/auth/cli/token", bytes.NewReader(body))
	if err != nil {
		return Login{}, err
	}
	h := client(&http.Transport{Proxy: http.ProxyFromEnvironment})
	defer h.CloseIdleConnections()
	login, err := takeToken(h, req, Login{URL: base})
	if err != nil {
		return Login{}, err
	}
	return login, l.change(func(all map[string]Login) { all[base] = login })
}

// receive serves the page's redirect on the listener, once, and returns what waits for
// the code. It takes the port's requests for itself only if they name the state, so
// that another page cannot end the sign-in.
func receive(listener net.Listener, state string) func(context.Context) (string, error) {
	codes := make(chan string, 1)
	authority := listener.Addr().String()
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 32 << 10, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Cache-Control", "no-store")
		if r.Host != authority || r.URL.Path != "/" || q.Get("state") != state || q.Get("code") == "" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		select {
		case codes <- q.Get("code"):
		default:
		}
		fmt.Fprintln(w, "You may close this page and return to the terminal.")
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(listener) }()
	return func(ctx context.Context) (string, error) {
		defer func() {
			ending, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if srv.Shutdown(ending) != nil {
				_ = srv.Close()
			}
			<-done
		}()
		select {
		case code := <-codes:
			return code, nil
		case <-ctx.Done():
			return "", fmt.Errorf("the sign-in was not allowed in the browser: %w", context.Cause(ctx))
		}
	}
}

// SignOut ends the login at the host, and forgets it. The login is forgotten also when
// the host cannot be told; then the error says so.
func (l Logins) SignOut(ctx context.Context, text string) error {
	base, err := parseURL(text)
	if err != nil {
		return err
	}
	all, err := l.load()
	if err != nil {
		return err
	}
	login, ok := all[base]
	if !ok {
		return fmt.Errorf("%w at %s", ErrSignIn, base)
	}
	c := &Client{Where: base, base: base, http: client(&http.Transport{Proxy: http.ProxyFromEnvironment}),
		token: func(context.Context) (string, error) { return login.Token, nil }}
	defer c.http.CloseIdleConnections()
	err = c.Do(ctx, http.MethodPost, "/auth/logout", map[string]string{"scope": "login"}, nil)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusUnauthorized {
		err = nil // it had ended already
	}
	if err != nil {
		err = fmt.Errorf("the login is forgotten here, but may be good until %s: %w", login.Until.Local().Format(time.RFC3339), err)
	}
	return errors.Join(err, l.change(func(all map[string]Login) { delete(all, base) }))
}
