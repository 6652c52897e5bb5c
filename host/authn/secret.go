package authn

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/oauth2"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
)

func (s *Secret) named() bool { return s.File != "" || s.Env != "" }

// follow returns the secret, without a final newline. A file is read again when it
// changes.
func (s *Secret) follow(at string, log *slog.Logger) (*follow.Value[string], error) {
	same := func(secret string) (string, error) { return secret, nil }
	return followSecret(log, at+".clientSecretFile", s.File, at+".clientSecretEnv", s.Env, same)
}

// withSecret returns c with the present client secret.
func withSecret(c oauth2.Config, secret *follow.Value[string]) *oauth2.Config {
	c.ClientSecret = secret.Get()
	return &c
}

// followSecret parses a secret, that of a file again each time it changes. Errors
// name the field.
func followSecret[T any](log *slog.Logger, fileField, file, envField, env string, parse func(string) (T, error)) (*follow.Value[T], error) {
	if env != "" {
		v := os.Getenv(env)
		if v == "" {
			return nil, fmt.Errorf("%s: environment variable %s is not set", envField, env)
		}
		return follow.Open(log, func([][]byte) (T, error) { return parse(v) })
	}
	value, err := follow.Open(log, func(contents [][]byte) (T, error) {
		v := strings.TrimRight(string(contents[0]), "\r\n")
		if v == "" || len(v) > maxSecret {
			var none T
			return none, fmt.Errorf("%s must hold 1 to %d bytes", file, maxSecret)
		}
		return parse(v)
	}, file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", fileField, err)
	}
	return value, nil
}

const maxSecret = 4 << 10
