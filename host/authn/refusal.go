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
)

// A refusal is why a provider, a proxy or a token may not say who is asking:
// what was read, the value there, and the rule that the value breaks. It is for
// the operator, and leaves one line in the log with all three.
type refusal struct {
	source string // `claim "email"`, `header X-Auth-Request-Email`
	value  string // bounded, printable, never a secret
	rule   string // completes a sentence that begins with source and value
}

func (e *refusal) Error() string { return e.source + " " + e.value + " " + e.rule }

// refuse returns a refusal of the value that source has; nil is one that is
// absent. The rule is formatted with args, completes "claim "email" "x@y" …",
// and should say what to do where that is not plain.
func refuse(source string, value any, rule string, args ...any) error {
	return &refusal{source, shown(value), fmt.Sprintf(rule, args...)}
}

func sourceClaim(name string) string  { return "claim " + strconv.Quote(name) }
func sourceHeader(name string) string { return "header " + name }

// unauthenticated is the answer to a request whose credential is refused, when
// nothing else may count in its place. It shows the rule and not the value.
func unauthenticated(err error) error {
	e := &host.Error{Kind: host.Unauthenticated, Op: "authn", Err: err}
	if f, ok := errors.AsType[*refusal](err); ok {
		e.Detail = f.source + " " + f.rule
	}
	return e
}

// about returns the log attributes of err: those of the refusal in it, if there
// is one, else its text.
func about(err error) []any {
	if f, ok := errors.AsType[*refusal](err); ok {
		return []any{"source", f.source, "value", f.value, "rule", f.rule}
	}
	return []any{"error", err}
}

// reportEvery is how often the same refusal of requests is logged, in seconds.
const reportEvery = 60

// report leaves a line in the log about a request's credential that is refused,
// or a part of it that cannot be used. A client repeats it with each request;
// the log has it about once a minute. Sign-ins in a browser are logged where
// they fail, each time.
func (s *Service) report(r *http.Request, message, method string, err error) {
	if s.reports.take(message+"\x00"+method+"\x00"+err.Error(), time.Now()) {
		s.log.Warn(message, append([]any{"method", method, "path", r.URL.Path}, about(err)...)...)
	}
}

// maxShown bounds a value in the log, in bytes.
const maxShown = 200

// shown writes a claim or a header for the log: quoted ASCII of bounded length.
// What looks like a token is not shown.
func shown(v any) string {
	text, ok := v.(string)
	if !ok {
		if v == nil {
			return "(absent)"
		}
		data, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprintf("(a %T)", v)
		}
		text = string(data)
	}
	if secretive(text) {
		return fmt.Sprintf("(what looks like a token, of %d bytes)", len(text))
	}
	end := ""
	if len(text) > maxShown {
		text, end = text[:maxShown], "…"
	}
	if !ok {
		return printable(text) + end
	}
	return strconv.QuoteToASCII(text) + end
}

// secretive reports whether text contains what may be a credential: a JWT, one
// of GitHub's tokens, or an Authorization header.
func secretive(text string) bool {
	for _, mark := range []string{"eyJ", "gho_", "ghp_", "ghu_", "github_pat_", "Bearer ", "Basic "} {
		if strings.Contains(text, mark) {
			return true
		}
	}
	return false
}
