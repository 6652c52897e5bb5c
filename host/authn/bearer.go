package authn

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
)

// acceptIDToken checks an ID token that a program sends as its credential. The
// token is a login of its own, from when it was issued to when it expires, or for
// as long as a login may last. It ends like any other, by its own logout or by
// its user's, and stays ended until the token's own expiry.
func (s *Service) acceptIDToken(ctx context.Context, raw string) (*token, error) {
	p := s.bearers[unverifiedIssuer(raw)]
	if p == nil {
		return nil, errNobody
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	id, err := p.verifyBearer(ctx, raw)
	if err != nil {
		return nil, err
	}
	signed, _, _ := cutLast(raw, ".") // the signature may be written in several ways
	sum := sha256.Sum256([]byte(id.Issuer + "\x00" + signed))
	rec := state.LoginRecord{
		ID: host.LoginID(base64.RawURLEncoding.EncodeToString(sum[:16])), User: id.User,
		Issuer: id.Issuer, Subject: id.Subject, Method: id.Method, Name: id.Name, Claims: id.Claims,
		At: id.at, Until: earlier(id.until, id.at.Add(s.life.login)), Credential: id.until,
	}
	if err := s.knows(rec, id.Source); err != nil {
		return nil, err
	}
	s.warn(id.Identity)
	if rec, err = s.State.AdmitLogin(ctx, rec); err != nil {
		return nil, err
	}
	return &token{
		user: rec.User, login: rec.ID, issued: rec.At, expires: rec.Until, foreign: true, epoch: s.keys.epoch(),
	}, nil
}

// bearerIdentity is whom an ID token is about, and when it counts.
type bearerIdentity struct {
	Identity
	at, until time.Time
}

func (p *oidcProvider) verifyBearer(ctx context.Context, raw string) (bearerIdentity, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return bearerIdentity{}, &host.Error{Kind: host.Unavailable, Op: "authn.bearer", Message: "the identity provider does not answer", Err: err}
	}
	id, err := d.bearer.Verify(ctx, raw)
	if err != nil {
		return bearerIdentity{}, err
	}
	if !slices.ContainsFunc(id.Audience, p.ours) {
		return bearerIdentity{}, refuse(sourceClaim("aud"), id.Audience, "names others; the token must be for clientID or one of audiences")
	}
	claims, err := claimsOf(id)
	if err != nil {
		return bearerIdentity{}, err
	}
	// A token for us alone may have been issued to any client (Google puts a service
	// account's number there). One for others as well could come from any of these.
	if slices.ContainsFunc(id.Audience, func(a string) bool { return !p.ours(a) }) {
		if err := p.authorized(claims); err != nil {
			return bearerIdentity{}, err
		}
	}
	// A token of the future would not be older than a logout of today.
	now := time.Now()
	if id.IssuedAt.After(now) {
		return bearerIdentity{}, refuse(sourceClaim("iat"), id.IssuedAt, "is in the future; synchronise this host's clock and the provider's")
	}
	if !now.Before(id.Expiry) {
		return bearerIdentity{}, errors.New("the token has expired")
	}
	who, err := p.identity(id, claims)
	return bearerIdentity{who, id.IssuedAt, id.Expiry}, err
}

// unverifiedIssuer reads the issuer of what looks like an ID token, which only
// says whose keys to try. A token that says it is of another kind is none: an
// access token (RFC 9068) is meant for somebody else.
func unverifiedIssuer(raw string) string {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return ""
	}
	var header struct {
		Typ string `json:"typ"`
	}
	var body struct {
		Issuer string `json:"iss"`
	}
	if decodePart(parts[0], &header) != nil || decodePart(parts[1], &body) != nil {
		return ""
	}
	if header.Typ != "" && !strings.EqualFold(header.Typ, "JWT") {
		return ""
	}
	return body.Issuer
}

func decodePart(part string, v any) error {
	text, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
