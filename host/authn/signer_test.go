package authn

import (
	"strings"
	"testing"
	"time"
)

// Origin: kobs signed with an empty key by default. Scanners try secrets from
// documentation.
func TestWeakSecretsAreRefused(t *testing.T) {
	for secret, ok := range map[string]bool{
		"":                                       false,
		"too short":                              false,
		"your-256-bit-secret":                    false,
		strings.Repeat("a", 64):                  false,
		strings.Repeat("0123456789abcdefXY", 4):  false,
		"a-string-secret-at-least-256-bits-long": false,
		"A_STRING_SECRET_AT_LEAST_256_BITS_LONG!!":                         false,
		"super-secret-jwt-token-with-at-least-32-characters-long":          false,
		"404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970": false,
		"m6t1Yw9qLr0Zx4Hs8Vb2Nc7Kd5Jf3Gp6":                                 true,
	} {
		_, err := newSecretKey(&Signing{Algorithm: "HS256", SecretFile: secretFile(t, secret).File}, nil)
		if (err == nil) != ok {
			t.Errorf("%q: %v", secret, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "auth.signing") || len(secret) > 12 && strings.Contains(err.Error(), secret)) {
			t.Errorf("%q: error %v", secret, err)
		}
	}
}

func TestTokensSignedWithASecret(t *testing.T) {
	signing := &Signing{Algorithm: "HS256", SecretFile: secretFile(t, "m6t1Yw9qLr0Zx4Hs8Vb2Nc7Kd5Jf3Gp6").File}
	f := setUp(t, func(c *Config) { c.Options.Signing = signing })
	raw, _ := f.signIn(t, "ann")
	if p, err := f.Resolve(bearing(raw)); err != nil || p.User != "ann" {
		t.Fatalf("%+v, %v", p, err)
	}
	// Tokens of the host's own keys are refused then, and the other way round.
	cfg := f.Config
	cfg.Options.Signing = nil
	other, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Resolve(bearing(raw)); err == nil {
		t.Error("a token of the secret is good for Ed25519")
	}
	own, err := other.sign("ann", "x", time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.verify(f.strict, own); err == nil {
		t.Error("an Ed25519 token is good for the secret")
	}
	state, err := f.signAs(stateType, flow{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.verify(f.strict, state); err == nil {
		t.Error("a state is a token")
	}
	if _, err := f.readState(raw, "corp", binding{}); err == nil {
		t.Error("a token is a state")
	}
}
