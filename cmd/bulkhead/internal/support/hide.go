package support

import (
	"bytes"
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host/server"
)

const (
	hidden     = "<redacted>"
	maxSecret  = 64 << 10 // bytes of a file of a secret
	leastBytes = 6        // of a secret: shorter ones would hide half of the text
)

// hider replaces secrets: those that the configuration's files and the environment
// contain, and what looks like one.
type hider struct{ known [][]byte }

// patterns are what looks like a secret, whatever it is for. The first group of each, if
// there is one, stays.
var patterns = []*regexp.Regexp{
	regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`),
	regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`), // a JWT
	regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`),             // Authorization
	regexp.MustCompile(`([a-z][a-z0-9+.-]*://)[^/\s"'@]+@`),                         // the user in a URL
	regexp.MustCompile(`(?i)((?:password|passwd|client_?secret|access_?token|refresh_?token|id_?token|api_?key|\bsig)["']?\s*[=:]\s*)["']?[^\s"',&}]{4,}`),
	regexp.MustCompile(`\b(?:ghp|gho|ghs|ghu|github_pat|glpat|xox[abp])[_-][A-Za-z0-9_-]{10,}`), // tokens of GitHub, GitLab, Slack
}

// secretName is a variable's, or a field's in a file such as a kubeconfig.
var (
	secretName  = regexp.MustCompile(`(?i)secret|token|password|passwd|credential|private|headers|_key$|apikey`)
	secretField = regexp.MustCompile(`(?im)^[\s-]*(?:token|password|client-key-data|client-secret|id-token|refresh-token|access-token)["']?\s*:\s*["']?([^\s"']+)`)
)

// newHider reads the files that c names, and those of the host's own keys.
func newHider(c *server.Config, environ []string) *hider {
	h := &hider{}
	paths := c.Files()
	if c.TLS != nil {
		paths = append(paths, c.TLS.Key)
	}
	keys, _ := filepath.Glob(filepath.Join(c.Data, "*.key"))
	for _, path := range append(paths, keys...) {
		h.file(path)
	}
	for _, variable := range environ {
		if name, value, _ := strings.Cut(variable, "="); secretName.MatchString(name) && !strings.HasSuffix(strings.ToUpper(name), "FILE") {
			h.add([]byte(value))
			for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == '=' }) {
				h.add([]byte(part)) // OTEL_EXPORTER_OTLP_HEADERS is a list
			}
		}
	}
	for _, p := range c.Plugins {
		for _, value := range regexp.MustCompile(`"((?:[^"\\]|\\.)*)"\s*[,}\]]`).FindAllSubmatch(p.Config, -1) {
			h.add(value[1])
		}
	}
	// The longest first: a secret may begin with another.
	slices.SortFunc(h.known, func(a, b []byte) int { return len(b) - len(a) })
	return h
}

// file adds what a file of a secret contains: its only line, or the values of fields that
// have the name of one. Of other files, such as authorities, nothing is a secret.
func (h *hider) file(path string) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxSecret {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret))
	if err != nil {
		return
	}
	if line := bytes.TrimSpace(text); !bytes.ContainsRune(line, '\n') {
		h.add(line)
	}
	h.add(text)
	for _, value := range secretField.FindAllSubmatch(text, -1) {
		h.add(value[1])
	}
	for _, block := range patterns[0].FindAll(text, -1) {
		for line := range bytes.Lines(block) {
			if !bytes.HasPrefix(line, []byte("-----")) {
				h.add(bytes.TrimSpace(line))
			}
		}
	}
}

// add adds a secret, as it is and in base64.
func (h *hider) add(secret []byte) {
	if len(secret) < leastBytes {
		return
	}
	secret = bytes.Clone(secret)
	h.known = append(h.known, secret, []byte(base64.StdEncoding.EncodeToString(secret)))
}

// text returns text without secrets.
func (h *hider) text(text []byte) []byte {
	for _, secret := range h.known {
		text = bytes.ReplaceAll(text, secret, []byte(hidden))
	}
	for _, p := range patterns {
		replacement := hidden
		if p.NumSubexp() > 0 {
			replacement = "${1}" + hidden
		}
		if p == patterns[2] {
			replacement = "${1} " + hidden
		}
		if p == patterns[3] {
			replacement = "${1}" + hidden + "@"
		}
		text = p.ReplaceAll(text, []byte(replacement))
	}
	return text
}
