package artifact

import (
	"cmp"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/registry"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
)

// Schemes of references.
const (
	schemeFile   = "file"
	schemeHTTPS  = "https"
	schemeHTTP   = "http" // on loopback
	schemeOCI    = "oci"
	schemeLayout = "oci-layout"
)

// maxReference bounds the text of a reference, in bytes.
const maxReference = 2048

// Reference names an artifact. Its text is one of
//
//	PATH or file:PATH                        a file; file:///PATH as in RFC 8089
//	https://HOST/PATH                        a file on a web server; http is for loopback
//	oci://REGISTRY/REPOSITORY[:TAG][@DIGEST] an artifact in an OCI registry
//	oci-layout:DIR[:TAG][@DIGEST]            an artifact in an OCI image layout, for use without a network
//
// An OCI reference has a tag, a digest or both; a layout that holds one artifact needs
// neither. DIGEST is that of the artifact's manifest. Where there is one, the tag is a
// note for people: the digest alone is fetched. References are comparable; the zero
// value names nothing.
type Reference struct {
	scheme     string
	path       string // of a file or layout
	url        string
	registry   string
	repository string
	tag        string
	digest     digest.Digest // of the manifest
}

var (
	schemeRE = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)
	tagRE    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`) // distribution-spec v1.1, "Pulling manifests"
)

// ParseReference reads the text of a reference. It opens nothing.
func ParseReference(text string) (Reference, error) {
	switch {
	case text == "":
		return Reference{}, badReference(text, "is empty; write a path, https://…, oci://REGISTRY/REPOSITORY:TAG or oci-layout:DIR")
	case len(text) > maxReference:
		return Reference{}, fmt.Errorf("a reference of %d bytes is longer than %d; shorten it", len(text), maxReference)
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return Reference{}, badReference(text, "contains a control character; remove it")
	}
	scheme, rest, _ := strings.Cut(text, ":")
	if !schemeRE.MatchString(text) {
		scheme, rest = schemeFile, text
	}
	switch scheme {
	case schemeFile:
		return parseFile(text, rest)
	case schemeHTTPS, schemeHTTP:
		return parseURL(text)
	case schemeOCI:
		return parseOCI(text, rest)
	case schemeLayout:
		return parseLayout(text, rest)
	}
	return Reference{}, badReference(text, "has the unknown scheme %q; use file:, https:, oci:// or oci-layout:, or begin a path with ./", scheme)
}

// badReference shows no query, in which there may be a secret, and no password.
func badReference(text, format string, args ...any) error {
	text, _, _ = strings.Cut(text, "?")
	if at := strings.LastIndex(text, "@"); at >= 0 && strings.HasPrefix(text, "http") {
		text = "…" + text[at:]
	}
	return fmt.Errorf("reference %q %s", text, fmt.Sprintf(format, args...))
}

func parseFile(text, rest string) (Reference, error) {
	if strings.HasPrefix(text, "file://") {
		u, err := url.Parse(text)
		if err != nil || u.Host != "" && u.Host != "localhost" || u.RawQuery != "" || u.Fragment != "" || strings.Contains(u.Path, "\x00") {
			return Reference{}, badReference(text, "is not a file URL; write file:///PATH, or the path alone")
		}
		rest = u.Path
	}
	if rest == "" || strings.HasSuffix(rest, "/") {
		return Reference{}, badReference(text, "does not name a file; write the file's path")
	}
	return Reference{scheme: schemeFile, path: rest}, nil
}

func parseURL(text string) (Reference, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != schemeHTTPS && !netaddr.IsLoopback(u.Hostname()):
		return Reference{}, badReference(text, "is not an https URL, or http on loopback; write https://HOST/PATH")
	case u.User != nil:
		return Reference{}, badReference(text, "contains a password; use user and tokenFile")
	case u.Fragment != "" || strings.HasSuffix(text, "#"):
		return Reference{}, badReference(text, "has a fragment; leave out # and what follows")
	}
	return Reference{scheme: u.Scheme, url: text}, nil
}

// cutDigest takes a digest from the end of a reference.
func cutDigest(text, rest string) (string, digest.Digest, error) {
	at := strings.LastIndex(rest, "@")
	if at < 0 {
		return rest, "", nil
	}
	d, err := checkDigest(rest[at+1:])
	if err != nil {
		return "", "", badReference(text, "has %v after @", err)
	}
	return rest[:at], d, nil
}

// checkDigest accepts SHA-256 alone, so that one content has one name.
func checkDigest(text string) (digest.Digest, error) {
	d := digest.Digest(text)
	if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		return "", fmt.Errorf("%q, which is not sha256: and 64 hexadecimal digits", text)
	}
	return d, nil
}

func parseOCI(text, rest string) (Reference, error) {
	if !strings.HasPrefix(rest, "//") {
		return Reference{}, badReference(text, "lacks // after oci:; write oci://REGISTRY/REPOSITORY:TAG, or oci-layout:DIR for a directory")
	}
	name, d, err := cutDigest(text, rest[2:])
	if err != nil {
		return Reference{}, err
	}
	ref, err := registry.ParseReference(name)
	if err != nil || ref.Repository == "" || ref.Reference != "" && !tagRE.MatchString(ref.Reference) {
		return Reference{}, badReference(text, "is not oci://REGISTRY/REPOSITORY:TAG@DIGEST; a repository has lower-case letters, digits, dots, dashes and slashes")
	}
	if ref.Reference == "" && d == "" {
		return Reference{}, badReference(text, "has neither a tag nor a digest; add :TAG or @sha256:…")
	}
	return Reference{scheme: schemeOCI, registry: ref.Registry, repository: ref.Repository, tag: ref.Reference, digest: d}, nil
}

func parseLayout(text, rest string) (Reference, error) {
	r := Reference{scheme: schemeLayout}
	var err error
	if rest, r.digest, err = cutDigest(text, rest); err != nil {
		return Reference{}, err
	}
	slash := strings.LastIndex(rest, "/")
	if colon := strings.LastIndex(rest, ":"); colon > slash {
		rest, r.tag = rest[:colon], rest[colon+1:]
		if !tagRE.MatchString(r.tag) {
			return Reference{}, badReference(text, "has %q after the directory, which is not a tag of letters, digits, dots, dashes and underscores", r.tag)
		}
	}
	if rest == "" {
		return Reference{}, badReference(text, "names no directory; write oci-layout:DIR:TAG")
	}
	r.path = rest
	return r, nil
}

// String is a text that ParseReference reads as r. It may contain a secret in the
// query of a URL; Origin does not.
func (r Reference) String() string {
	end := ""
	if r.tag != "" {
		end = ":" + r.tag
	}
	if r.digest != "" {
		end += "@" + string(r.digest)
	}
	switch r.scheme {
	case schemeFile:
		if schemeRE.MatchString(r.path) || strings.HasPrefix(r.path, "//") {
			return schemeFile + ":" + fileText(r.path)
		}
		return r.path
	case schemeOCI:
		return schemeOCI + "://" + r.registry + "/" + r.repository + end
	case schemeLayout:
		return schemeLayout + ":" + r.path + end
	}
	return r.url
}

// fileText is path after "file:". A path with two slashes in front would be read as a
// host.
func fileText(path string) string {
	if strings.HasPrefix(path, "//") {
		return "/" + strings.TrimLeft(path, "/")
	}
	return path
}

// Origin is r for logs and errors: without the query of a URL.
func (r Reference) Origin() string {
	origin, _, _ := strings.Cut(r.String(), "?")
	return origin
}

// Remote reports whether r is fetched over a network.
func (r Reference) Remote() bool {
	return r.scheme == schemeOCI || r.scheme == schemeHTTPS || r.scheme == schemeHTTP
}

// Local reports whether r is a file of this machine.
func (r Reference) Local() bool { return r.scheme == schemeFile }

// Path is the path of a local file or of a layout's directory; empty for others.
func (r Reference) Path() string { return r.path }

// SameServer reports whether two remote references have the same server, so that the
// credentials for one are those for the other.
func (r Reference) SameServer(o Reference) bool {
	return r.Remote() && o.Remote() && sameOrigin(r.home(), o.home())
}

// Registered reports whether r is in a registry or a layout: what is signed there is
// the artifact's manifest.
func (r Reference) Registered() bool { return r.scheme == schemeOCI || r.scheme == schemeLayout }

// home is the server that a remote reference names. A registry on this machine is
// spoken to without TLS.
func (r Reference) home() *url.URL {
	if r.scheme != schemeOCI {
		u, _ := url.Parse(r.url) // as when it was parsed
		return &url.URL{Scheme: u.Scheme, Host: u.Host}
	}
	host := registry.Reference{Registry: r.registry}.Host()
	if netaddr.IsLoopback(netaddr.Host(host)) {
		return &url.URL{Scheme: schemeHTTP, Host: host}
	}
	return &url.URL{Scheme: schemeHTTPS, Host: host}
}

// In returns r with a relative path of a file or layout taken to be below dir.
func (r Reference) In(dir string) Reference {
	r.path = below(dir, r.path)
	return r
}

// at returns r pinned to the digest of its manifest. A file has none.
func (r Reference) at(d digest.Digest) Reference {
	if r.Registered() {
		r.digest = d
	}
	return r
}

// target is what to look for in a registry or layout.
func (r Reference) target() string { return cmp.Or(string(r.digest), r.tag) }

// below is path, if it is relative one below dir.
func below(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
