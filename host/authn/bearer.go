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
)

// acceptIDToken verifies an ID token that a program sends as its credential. Each
// token is a login of its own, a bearer-bound login. It lasts from the token's
// issue to its expiry, at most lifetimes.login, and ends earlier with its own or
// its user's logout; the revocation is kept until the token expires.
func (s *Service) acceptIDToken(ctx context.Context, raw string) (*token, error) {
	p := s.bearers[unverifiedIssuer(raw)]
	if p == nil {
		return nil, errUnauthenticated
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	id, err := p.verifyBearer(ctx, raw)
	if err != nil {
		return nil, err
	}
	signed, _, _ := cutLast(raw, ".") // one signature has several encodings
	sum := sha256.Sum256([]byte(id.Issuer + "\x00" + signed))
	rec := host.LoginRecord{
		ID: host.LoginID(base64.RawURLEncoding.EncodeToString(sum[:16])), User: id.User,
		Issuer: id.Issuer, Subject: id.Subject, Method: id.Method, Name: id.Name, Claims: id.Claims,
		At: id.at, Until: earlier(id.until, id.at.Add(s.life.login)), Credential: id.until,
	}
	if err := s.checkListed(rec, id.Source); err != nil {
		return nil, err
	}
	s.warn(id.Identity)
	_, known := s.State.Login(rec.ID)
	if rec, err = s.State.AdmitLogin(ctx, rec); err != nil {
		return nil, err
	}
	if !known {
		s.noteLogin(ctx, &rec, "")
	}
	return &token{
		user: rec.User, login: rec.ID, issued: rec.At, expires: rec.Until, bearerBound: true, epoch: s.keys.epoch(),
	}, nil
}

// bearerIdentity is the identity in an ID token, and when the token is valid.
type bearerIdentity struct {
	Identity
	at, until time.Time
}

func (p *oidcProvider) verifyBearer(ctx context.Context, raw string) (bearerIdentity, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return bearerIdentity{}, &host.Error{Kind: host.Unavailable, Op: "authn.bearer", Message: "the identity provider does not answer; try again", Err: err}
	}
	id, err := d.bearer.Verify(ctx, raw)
	if err != nil {
		return bearerIdentity{}, err
	}
	if !slices.ContainsFunc(id.Audience, p.ours) {
		return bearerIdentity{}, refuse(sourceClaim("aud"), id.Audience, "does not contain clientID or one of audiences")
	}
	claims, err := claimsOf(id)
	if err != nil {
		return bearerIdentity{}, err
	}
	// A token whose only audience is this host may be issued to any client (azp of
	// Google's tokens is the number of a service account). If it has other audiences,
	// each of them could have sent it, so it must be issued to this host.
	if slices.ContainsFunc(id.Audience, func(a string) bool { return !p.ours(a) }) {
		if err := p.authorized(claims); err != nil {
			return bearerIdentity{}, err
		}
	}
	// A logout ends tokens issued before it, so a later issue time would escape it.
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

// unverifiedIssuer returns the issuer that an ID token claims, to choose the keys
// that verify it. It returns "" for another type of token: an access token
// (RFC 9068) is for a resource server.
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
