package helm

import (
	"context"
	"encoding/base64"
	"fmt"
	"index/suffixarray"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"helm.sh/helm/v3/pkg/release"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
)

// viaShow is host.CapabilityCall.Via of the question whether the user may see the Secrets
// that a release declares. Without it, what a release shows is concealed.
const viaShow = "helm.show"

const (
	hiddenText        = "<redacted>"
	hiddenTextChanged = "<redacted, changed>"

	leastEqual  = 4 // bytes of a secret that a value equals
	leastInside = 8 // bytes of a value that is a part of a secret, or of a secret in a text

	// Of the releases of one answer; with more, it needs the permission to see Secrets.
	maxSecrets     = 1000
	maxSecretBytes = 2 << 20
)

// showsSecrets reports whether the user of p may see the Secrets of q's namespace in
// what a release shows.
func showsSecrets(ctx context.Context, p *capability.Permit, q *request) bool {
	o, err := p.Also(ctx, host.CapabilityCall{
		Name: "kube", Cluster: q.cluster, Verb: "get", Resource: "secrets", Namespace: q.namespace, Effect: host.EffectRead, Via: viaShow,
	})
	return err == nil && len(o.Redact) == 0
}

// concealer hides the secrets of releases: the values of the Secrets that they declare,
// wherever these occur, and values whose key says that they are secret. Not safe for
// concurrent use.
type concealer struct {
	secrets  map[string]bool
	parts    *suffixarray.Index // of all secrets
	replacer *strings.Replacer
	hidden   bool // something was hidden
}

// newConcealer collects the secrets of the releases. The error is of kind Unprocessable
// if there are too many to hide.
func newConcealer(releases ...*release.Release) (*concealer, error) {
	c := &concealer{secrets: map[string]bool{}}
	for _, r := range releases {
		texts := []string{r.Manifest}
		for _, h := range r.Hooks {
			texts = append(texts, h.Manifest)
		}
		for _, text := range texts {
			for _, o := range objectsOf(text) {
				for _, secret := range o.secrets() {
					c.collect(secret)
				}
			}
		}
	}
	// The longest first: the replacer takes the first that matches.
	list := slices.SortedFunc(maps.Keys(c.secrets), func(a, b string) int { return len(b) - len(a) })
	all := strings.Join(list, "\x00")
	if len(list) > maxSecrets || len(all) > maxSecretBytes {
		return nil, host.E(host.Unprocessable, name, "the release declares too many secret values to be shown without them")
	}
	var pairs []string
	for _, secret := range list {
		if len(secret) >= leastInside {
			pairs = append(pairs, secret, hiddenText)
		}
	}
	c.parts, c.replacer = suffixarray.New([]byte(all)), strings.NewReplacer(pairs...)
	return c, nil
}

// collect adds the values of a Secret.
func (c *concealer) collect(secret map[string]any) {
	for _, field := range []string{"data", "stringData"} {
		values, _ := secret[field].(map[string]any)
		for _, v := range values {
			text, ok := scalar(v)
			if !ok {
				continue
			}
			c.secrets[text] = true
			if plain, err := base64.StdEncoding.DecodeString(text); field == "data" && err == nil {
				c.secrets[string(plain)] = true
			}
		}
	}
}

// scalar returns the text of a value in a Secret or in a template.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case nil, bool, map[string]any, []any:
		return "", false
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	default:
		return fmt.Sprint(v), true
	}
}

// values returns a copy of v without the secrets, and JSON Pointers (RFC 6901) to their
// places, sorted.
func (c *concealer) values(v map[string]any) (map[string]any, []string) {
	var found []string
	out, _ := c.walk(v, "", false, &found).(map[string]any)
	slices.Sort(found)
	return out, found
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// walk returns a copy of v without the secrets. named means that a key above says that
// all below it is secret.
func (c *concealer) walk(v any, at string, named bool, found *[]string) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, child := range v {
			out[k] = c.walk(child, at+"/"+pointerEscapes.Replace(k), named || secretKey(k), found)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, child := range v {
			out[i] = c.walk(child, at+"/"+strconv.Itoa(i), named, found)
		}
		return out
	}
	text, ok := scalar(v)
	if !ok || text == "" || !named && !c.secret(text) {
		return v
	}
	*found, c.hidden = append(*found, at), true
	return hiddenText
}

// secret reports whether a value is a secret or a part of one, or contains one.
func (c *concealer) secret(text string) bool {
	return len(text) >= leastEqual && c.secrets[text] ||
		len(text) >= leastInside && (len(c.parts.Lookup([]byte(text), 1)) > 0 || c.replacer.Replace(text) != text)
}

// text hides the secrets in a text.
func (c *concealer) text(s string) string {
	out := c.replacer.Replace(s)
	c.hidden = c.hidden || out != s
	return out
}

// The words of keys whose values are secret, and the endings of keys that name only where
// a secret is. They are compared with keys in lower case without separators.
const secretWords = `passw(or)?d|passphrase|pwd|secret(access)?key|secret|token|(api|access|private|signing|encryption)key|credential|connectionstring|htpasswd`

var (
	secretEnd   = regexp.MustCompile(`(` + secretWords + `)s?$`)
	secretIn    = regexp.MustCompile(secretWords)
	secretPlace = regexp.MustCompile(`^existing|pullsecrets?$`)
	placeEnd    = regexp.MustCompile(`(names?|refs?|keys?|paths?|files?|dirs?|url|uri|enabled|type|kind|class|length|ttl|expiry|expiration|annotations|labels|mounts?|volumes?)$`)
)

// secretKey reports whether a key of values says that its value is secret.
func secretKey(k string) bool {
	k = strings.Map(func(r rune) rune {
		if strings.ContainsRune("-_. ", r) {
			return -1
		}
		return r
	}, strings.ToLower(k))
	if secretPlace.MatchString(k) {
		return false
	}
	return secretEnd.MatchString(k) || secretIn.MatchString(k) && !placeEnd.MatchString(k)
}
