package authn

import (
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

// claims is the whole content of a token (RFC 7519): sub is the user id, sid the
// login id, gen the number of refreshes before it.
type claims struct {
	jwt.RegisteredClaims
	Login      host.LoginID `json:"sid"`
	Generation uint64       `json:"gen,omitempty"`
}

// token is a verified credential: a token of this host, an ID token, or the
// assertion of a trusted proxy. It is immutable, except that it caches its
// principal.
type token struct {
	user        host.UserID
	login       host.LoginID
	generation  uint64 // of a token of this host
	issued      time.Time
	expires     time.Time
	epoch       uint64         // of the keys it was verified against
	bearerBound bool           // an ID token or a proxy's user: no refresh, no idle limit
	name        string         // display name, if each request carries it
	claims      map[string]any // present claims, if each request carries them
	built       atomic.Pointer[built]
}

// parsers follow RFC 8725: one algorithm, this host as issuer, one audience for
// each kind of token, strict base64, and a required expiry. The lenient parser
// accepts expired tokens.
func parsers(issuer string, method jwt.SigningMethod) (strict, lenient, states, codes *jwt.Parser) {
	opts := func(audience string) []jwt.ParserOption {
		return []jwt.ParserOption{
			jwt.WithValidMethods([]string{method.Alg()}),
			jwt.WithIssuer(issuer),
			jwt.WithAudience(audience),
			jwt.WithExpirationRequired(),
			jwt.WithStrictDecoding(),
		}
	}
	return jwt.NewParser(opts(audience)...), jwt.NewParser(append(opts(audience), jwt.WithLeeway(math.MaxInt64/4))...),
		jwt.NewParser(opts(stateAudience)...), jwt.NewParser(opts(codePurpose)...)
}

// sign makes the first token of a login.
func (s *Service) sign(user host.UserID, login host.LoginID, now, expires time.Time) (string, error) {
	return s.signNext(user, login, 0, now, expires)
}

// signNext makes a token of a later generation.
func (s *Service) signNext(user host.UserID, login host.LoginID, generation uint64, now, expires time.Time) (string, error) {
	return s.signAs(tokenType, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: s.issuer, Audience: jwt.ClaimStrings{audience}, Subject: string(user), ID: rand.Text(),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires),
		},
		Login: login, Generation: generation,
	})
}

// signAs signs one kind of token; the kinds differ in type and audience.
func (s *Service) signAs(typ string, c jwt.Claims) (string, error) {
	id, key, ok := s.keys.newest()
	if !ok {
		return "", host.E(host.Unavailable, "authn.sign", "no signing key yet; try again")
	}
	t := jwt.NewWithClaims(s.keys.method(), c)
	t.Header["typ"], t.Header["kid"] = typ, id
	signed, err := t.SignedString(key)
	if err != nil {
		return "", &host.Error{Kind: host.Internal, Op: "authn.sign", Err: err}
	}
	return signed, nil
}

// verify checks the signature, type, issuer and audience of a token, and with the
// strict parser its expiry.
func (s *Service) verify(parser *jwt.Parser, raw string) (*token, error) {
	if len(raw) > maxToken {
		return nil, errBadToken
	}
	t := &token{epoch: s.keys.epoch()}
	var c claims
	if _, err := parser.ParseWithClaims(raw, &c, s.keyOf(tokenType)); err != nil {
		return nil, err
	}
	if c.Subject == "" || c.Login == "" || c.ID == "" || c.IssuedAt == nil {
		return nil, errBadToken
	}
	t.user, t.login, t.generation = host.UserID(c.Subject), c.Login, c.Generation
	t.issued, t.expires = c.IssuedAt.Time, c.ExpiresAt.Time
	return t, nil
}

var errBadToken = errors.New("not a token of this host")

// keyOf returns the function that finds the key for one type of token among the
// host's keys. A token whose header has other fields, such as the URL of a key, is
// refused.
func (s *Service) keyOf(typ string) jwt.Keyfunc {
	return func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		if len(t.Header) != 3 || t.Header["typ"] != typ {
			return nil, errBadToken
		}
		key, ok := s.keys.find(id)
		if !ok {
			return nil, errBadToken
		}
		return key, nil
	}
}
