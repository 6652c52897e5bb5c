package authn

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const (
	// maxToken bounds a token before anything is parsed; ours have some 400 bytes.
	maxToken  = 4096
	tokenType = "bulkhead+jwt"
	audience  = "bulkhead"
)

// claims is a token's content (RFC 7519) and has no room for more: sub is the
// user id, sid the login.
type claims struct {
	jwt.RegisteredClaims
	Login host.LoginID `json:"sid"`
}

// token is one that was verified. It is immutable, but for the memory of whom
// it last stood for.
type token struct {
	user    host.UserID
	login   host.LoginID
	issued  time.Time
	expires time.Time
	epoch   uint64 // of the keys it was verified against
	built   atomic.Pointer[built]
}

// parsers follow RFC 8725: one algorithm, our own issuer and audience, strict
// base64, an expiry in any case. The second lets time pass.
func parsers(issuer string) (strict, lenient *jwt.Parser) {
	opts := []jwt.ParserOption{
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithIssuer(issuer),
		jwt.WithAudience(audience),
		jwt.WithExpirationRequired(),
		jwt.WithStrictDecoding(),
	}
	return jwt.NewParser(opts...), jwt.NewParser(append(opts, jwt.WithLeeway(math.MaxInt64/4))...)
}

func (s *Service) sign(user host.UserID, login host.LoginID, now, expires time.Time) (string, error) {
	keys := s.State.Keys()
	if len(keys) == 0 {
		return "", host.E(host.Unavailable, "authn.sign", "there is no signing key")
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: s.issuer, Audience: jwt.ClaimStrings{audience}, Subject: string(user), ID: rand.Text(),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires),
		},
		Login: login,
	})
	t.Header["typ"], t.Header["kid"] = tokenType, keys[0].ID
	signed, err := t.SignedString(keys[0].Private)
	if err != nil {
		return "", &host.Error{Kind: host.Internal, Op: "authn.sign", Err: err}
	}
	return signed, nil
}

// verify checks everything about a token that does not change: signature,
// kind, issuer, audience, and with the strict parser that it has not expired.
func (s *Service) verify(parser *jwt.Parser, raw string) (*token, error) {
	if len(raw) > maxToken {
		return nil, errBadToken
	}
	t := &token{epoch: s.State.KeyEpoch()}
	var c claims
	if _, err := parser.ParseWithClaims(raw, &c, s.keyFor); err != nil {
		return nil, err
	}
	if c.Subject == "" || c.Login == "" || c.ID == "" || c.IssuedAt == nil {
		return nil, errBadToken
	}
	t.user, t.login = host.UserID(c.Subject), c.Login
	t.issued, t.expires = c.IssuedAt.Time, c.ExpiresAt.Time
	return t, nil
}

var errBadToken = errors.New("not a token of this host")

// keyFor selects among our own keys, which also fixes the algorithm. A header
// that says anything else, such as where to find a key, is refused.
func (s *Service) keyFor(t *jwt.Token) (any, error) {
	if len(t.Header) != 3 || t.Header["typ"] != tokenType {
		return nil, errBadToken
	}
	for _, k := range s.State.Keys() {
		if t.Header["kid"] == k.ID {
			return ed25519.PublicKey(k.Public()), nil
		}
	}
	return nil, errBadToken
}
