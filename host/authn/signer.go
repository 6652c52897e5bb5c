package authn

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"

	"github.com/golang-jwt/jwt/v5"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
)

// keys sign and verify tokens. The type of key fixes the algorithm; a token never
// chooses it.
type keys interface {
	method() jwt.SigningMethod
	// newest is the key to sign with.
	newest() (id string, key any, ok bool)
	// find returns the verification key with this id.
	find(id string) (key any, ok bool)
	// epoch changes whenever the result of find may change.
	epoch() uint64
}

// ownKeys are the host's own Ed25519 keys, which host/state keeps and rotates.
type ownKeys struct{ Store }

func (ownKeys) method() jwt.SigningMethod { return jwt.SigningMethodEdDSA }

func (k ownKeys) newest() (string, any, bool) {
	list := k.Keys()
	if len(list) == 0 {
		return "", nil, false
	}
	return list[0].ID, list[0].Private, true
}

func (k ownKeys) find(id string) (any, bool) {
	for _, key := range k.Keys() {
		if key.ID == id {
			return ed25519.PublicKey(key.Public()), true
		}
	}
	return nil, false
}

func (k ownKeys) epoch() uint64 { return k.KeyEpoch() }

// secretKey is one shared secret. A secret file is followed: when its content
// changes, tokens signed with the old secret become invalid.
type secretKey struct{ now *follow.Value[namedSecret] }

type namedSecret struct {
	id     string
	secret []byte
	epoch  uint64
}

func (secretKey) method() jwt.SigningMethod { return jwt.SigningMethodHS256 }

func (k secretKey) newest() (string, any, bool) {
	now := k.now.Get()
	return now.id, now.secret, true
}

func (k secretKey) find(id string) (any, bool) {
	now := k.now.Get()
	return now.secret, id == now.id
}

func (k secretKey) epoch() uint64 { return k.now.Get().epoch }

// minSecret is the minimum for HS256 by RFC 7518, section 3.2, in bytes.
const minSecret = 32

// newSecretKey refuses short, repetitive and published secrets.
func newSecretKey(s *Signing, log *slog.Logger) (secretKey, error) {
	v, err := followSecret(log, "auth.signing.secretFile", s.SecretFile, "auth.signing.secretEnv", s.SecretEnv, nameSecret)
	return secretKey{v}, err
}

func nameSecret(text string) (namedSecret, error) {
	secret := []byte(text)
	if err := checkSecret(secret); err != nil {
		return namedSecret{}, fmt.Errorf("auth.signing: the secret %w; create one with openssl rand -base64 48", err)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("bulkhead key id"))
	sum := mac.Sum(nil)
	return namedSecret{base64.RawURLEncoding.EncodeToString(sum[:12]), secret, binary.BigEndian.Uint64(sum[12:])}, nil
}

func checkSecret(secret []byte) error {
	if len(secret) < minSecret {
		return fmt.Errorf("has %d bytes, and HS256 needs at least %d", len(secret), minSecret)
	}
	seen := map[byte]bool{}
	for _, c := range secret {
		seen[c] = true
	}
	if len(seen) < 12 {
		return fmt.Errorf("has only %d different bytes and can be guessed", len(seen))
	}
	for n := 1; n <= len(secret)/2; n++ {
		if bytes.Equal(secret[n:], secret[:len(secret)-n]) {
			return fmt.Errorf("repeats itself every %d bytes and can be guessed", n)
		}
	}
	plain := plainLetters(string(secret))
	for _, known := range knownSecrets {
		if strings.Contains(plain, plainLetters(known)) {
			return fmt.Errorf("is an example from public documentation")
		}
	}
	return nil
}

// plainLetters drops case and punctuation, which people change in an example.
func plainLetters(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(s))
}

// knownSecrets are long example secrets from documentation and tutorials of
// widely used software; scanners try them first.
var knownSecrets = []string{
	"your-256-bit-secret", "your-384-bit-secret", "your-512-bit-secret", "a-string-secret-at-least-256-bits-long",
	"a-valid-string-secret-that-is-at-least-512-bits-long", "your-secret-key", "your-super-secret", "my-super-secret",
	"super-secret-jwt-token-with-at-least-32-characters-long", "this-is-a-secret", "my-secret-key", "jwt-secret-key",
	"your-jwt-secret", "change-me", "replace-me", "insert-your-secret", "secret-key-for-jwt", "example-secret",
	"404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970", "abcdefghijklmnopqrstuvwxyz", "0123456789abcdef0123456789abcdef",
	"qwertyuiopasdfghjklzxcvbnm", "supersecretsupersecret", "secretsecretsecret", "OFRC1j9aaR2BvADxNWlG2pmuD392UfQBZZLM1fuzDEzDlEpSsn",
	"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
}
