package authn

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

// A refusal says why the identity in a provider's answer, a proxy's headers or a
// token is not accepted: the source, its value, and the rule that the value breaks.
// The operator finds all three in one log line.
type refusal struct {
	source string // `claim "email"`, `header X-Auth-Request-Email`
	value  string // bounded, printable, never a secret
	rule   string // completes a sentence that begins with source and value
}

func (e *refusal) Error() string { return e.source + " " + e.value + " " + e.rule }

// refuse returns a refusal of the value at source; nil is an absent value. The
// rule, formatted with args, completes the sentence "claim "email" "x@y" …" and
// says what to do unless that is obvious.
func refuse(source string, value any, rule string, args ...any) error {
	return &refusal{source, shown(value), fmt.Sprintf(rule, args...)}
}

func sourceClaim(name string) string  { return "claim " + strconv.Quote(name) }
func sourceHeader(name string) string { return "header " + name }

// unauthenticated returns the error for a request whose credential is refused
// and for which no other credential may count. It shows the rule, not the value.
func unauthenticated(err error) error {
	e := &host.Error{Kind: host.Unauthenticated, Op: "authn", Err: err}
	if f, ok := errors.AsType[*refusal](err); ok {
		e.Detail = f.source + " " + f.rule
	}
	return e
}

// errorAttrs returns the log attributes of err: source, value and rule of a
// refusal, otherwise its text.
func errorAttrs(err error) []any {
	if f, ok := errors.AsType[*refusal](err); ok {
		return []any{"source", f.source, "value", f.value, "rule", f.rule}
	}
	return []any{"error", err}
}

// reportEvery is the least time between two log lines of one refusal, in seconds.
const reportEvery = 60

// report logs and records that a request's credential is refused. Clients repeat a
// credential with each request, so the same refusal is reported about once a minute. A
// failed sign-in in a browser is reported each time, where it fails.
func (s *Service) report(r *http.Request, message, method string, err error) {
	if s.hint(r, message, method, err) {
		s.noteRefusal(r, method, "", err)
	}
}

// hint logs that a part of a request's credential has no effect, about once a minute. It
// reports whether it did.
func (s *Service) hint(r *http.Request, message, method string, err error) bool {
	if !s.reports.take(message+"\x00"+method+"\x00"+err.Error(), time.Now()) {
		return false
	}
	s.log.Warn(message, append([]any{"method", method, "path", r.URL.Path}, errorAttrs(err)...)...)
	return true
}

// maxShown bounds a value in the log, in bytes.
const maxShown = 200

// shown formats a claim or a header for the log: quoted ASCII of bounded length.
// It does not show what looks like a token.
func shown(v any) string {
	full, ok := v.(string)
	if !ok {
		if v == nil {
			return "(absent)"
		}
		data, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprintf("(a %T)", v)
		}
		full = string(data)
	}
	if looksSecret(full) {
		return fmt.Sprintf("(looks like a token, %d bytes)", len(full))
	}
	if !ok {
		return text.ASCII(full, maxShown)
	}
	if cut := text.Cut(full, maxShown); cut != full {
		return strconv.QuoteToASCII(cut) + "…"
	}
	return strconv.QuoteToASCII(full)
}

// looksSecret reports whether s may contain a credential: a JWT, one
// of GitHub's tokens, or an Authorization header.
func looksSecret(s string) bool {
	for _, prefix := range []string{"eyJ", "gho_", "ghp_", "ghu_", "github_pat_", "Bearer ", "Basic "} {
		if strings.Contains(s, prefix) {
			return true
		}
	}
	return false
}
