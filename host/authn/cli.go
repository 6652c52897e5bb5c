package authn

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/base32"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// A program signs in as the user of a browser (RFC 8252, with PKCE, RFC 7636). It opens
// CLIPage in the browser with the hash of a secret. The user allows it there, and the
// page hands a code to the program: on a loopback port, or by the user's hand. The
// program exchanges code and secret for a token of a login of its own. The code is of
// no use without the secret, is used once, and no token is in any URL.

const (
	cliPath     = "/auth/cli"
	codeType    = "bulkhead-code+jwt"
	codePurpose = "bulkhead-code"
	codeLife    = 2 * time.Minute
)

//go:embed cli.html
var cliFile embed.FS

var cliTemplate = template.Must(template.ParseFS(cliFile, "cli.html"))

// code is the content of what the page hands to the program.
type code struct {
	jwt.RegisteredClaims
	Login     host.LoginID `json:"sid"` // of the program
	Challenge string       `json:"challenge"`
}

// CLICheck returns a short text that the page in the browser and the program in the
// terminal both show, so that the user can compare them.
func CLICheck(challenge string) string {
	sum := sha256.Sum256([]byte("check\x00" + challenge))
	text := base32.StdEncoding.EncodeToString(sum[:5])
	return text[:4] + "-" + text[4:]
}

// CLIChallenge is the challenge of a verifier (RFC 7636, section 4.2, S256).
func CLIChallenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func isChallenge(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == sha256.Size
}

// CLIPage handles GET /auth/cli?challenge=HASH&port=PORT&state=TEXT: the page on which
// a signed-in user allows a program to sign in as them. Others sign in first. Without a
// port the page shows the code to be copied.
func (s *Service) CLIPage(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	challenge, port, state := query.Get("challenge"), query.Get("port"), query.Get("state")
	if !isChallenge(challenge) {
		return host.E(host.Invalid, "authn.cli", "challenge: is not the SHA-256 of a verifier in base64url; start the sign-in with bulkhead login")
	}
	if port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
			return host.E(host.Invalid, "authn.cli", "port: %.20q is not a port", port)
		}
	}
	if len(state) > 64 {
		return host.E(host.Invalid, "authn.cli", "state: is longer than 64 bytes")
	}
	who, err := s.Resolve(r)
	if err != nil {
		if host.KindOf(err) != host.Unauthenticated {
			return err
		}
		here := cliPath + "?" + url.Values{"challenge": {challenge}, "port": {port}, "state": {state}}.Encode()
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, signInPage+"?"+url.Values{"redirect": {here}}.Encode(), http.StatusSeeOther)
		return nil
	}
	d := struct {
		Nonce, Check, Challenge, Port, State string
		Who                                  *host.Principal
	}{newNonce(), CLICheck(challenge), challenge, port, state, who.Principal}
	return writePage(w, "authn.cli", cliTemplate, d.Nonce, d)
}

// CLIAllow handles POST /auth/cli {"challenge": HASH} of who, from the page: it makes a
// login for the program, which ends with the login of who at the latest, and answers
// {"code": TEXT}, which is good for two minutes.
func (s *Service) CLIAllow(w http.ResponseWriter, r *http.Request, who Resolved) error {
	if err := s.CheckSite(r); err != nil {
		return err
	}
	var body struct {
		Challenge string `json:"challenge"`
	}
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	if !isChallenge(body.Challenge) {
		return host.E(host.Invalid, "authn.cli", "body: challenge is not the SHA-256 of a verifier in base64url")
	}
	p, now := who.Principal, time.Now()
	ctx, cancel := afterwards(r.Context())
	defer cancel()
	rec, err := s.createLogin(ctx, host.LoginRecord{
		ID: newLoginID(), User: p.User, Issuer: p.Issuer, Subject: p.Subject, Method: p.Login.Method, Name: p.Name,
		Claims: p.Claims, At: now, Until: p.Login.Until,
	}, s.RemoteAddr(r))
	if err != nil {
		return err
	}
	c := code{Login: rec.ID, Challenge: body.Challenge}
	c.Issuer, c.Audience, c.ID, c.Subject = s.issuer, jwt.ClaimStrings{codePurpose}, rand.Text(), string(p.User)
	c.ExpiresAt = jwt.NewNumericDate(now.Add(codeLife))
	text, err := s.signAs(codeType, c)
	if err != nil {
		return err
	}
	s.log.Info("a program may sign in", "user", string(p.User), "method", p.Login.Method)
	return writeJSON(w, map[string]string{"code": text})
}

// CLIToken handles POST /auth/cli/token {"code": TEXT, "verifier": SECRET}: it sets the
// cookie to the first token of the program's login, and answers like Me. The program
// sends that token as a bearer token and renews it with Refresh.
func (s *Service) CLIToken(w http.ResponseWriter, r *http.Request) error {
	if err := s.CheckSite(r); err != nil {
		return err
	}
	if !isJSON(r) {
		return host.E(host.Invalid, "authn.cli", "Content-Type: must be application/json")
	}
	var body struct {
		Code     string `json:"code"`
		Verifier string `json:"verifier"`
	}
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	if body.Code == "" || body.Verifier == "" {
		return host.E(host.Invalid, "authn.cli", "body: code and verifier are required")
	}
	refused := func(why string) error {
		return &host.Error{Kind: host.Unauthenticated, Op: "authn.cli", Message: why + "; start again with bulkhead login"}
	}
	var c code
	if len(body.Code) > maxToken {
		return refused("this is not a code")
	}
	if _, err := s.codes.ParseWithClaims(body.Code, &c, s.keyOf(codeType)); err != nil || c.ID == "" {
		return refused("the code is not valid, or has expired")
	}
	if subtle.ConstantTimeCompare([]byte(CLIChallenge(body.Verifier)), []byte(c.Challenge)) != 1 {
		return refused("the code is for another program")
	}
	first, err := s.State.Once(r.Context(), "cli/"+c.ID, c.ExpiresAt.Time)
	if err != nil {
		return err
	}
	if !first {
		return refused("the code was used before")
	}
	rec, ok := s.State.Login(c.Login)
	if !ok || string(rec.User) != c.Subject {
		return refused("the login has ended")
	}
	p, ok := s.principalOf(rec, rec.Claims)
	if !ok {
		return errUnauthenticated
	}
	now := time.Now()
	expires := s.expiry(now, rec.Until)
	raw, err := s.sign(rec.User, rec.ID, now, expires)
	if err != nil {
		return err
	}
	s.log.Info("signed in", "user", string(p.User), "method", p.Login.Method, "program", true)
	s.cookie.set(w, raw, p.Login.Until)
	return writeJSON(w, struct {
		self
		Expires time.Time `json:"expires"`
	}{describe(p), expires.UTC().Truncate(time.Second)})
}
