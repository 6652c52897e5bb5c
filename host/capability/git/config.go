package git

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
)

// Config is one source of the key "git" of the host's configuration: a repository, or all
// repositories below an address, with the host's credentials for them.
type Config struct {
	Name string `json:"name"` // a DNS label, which policy and plugins use
	// URL is https://SERVER/PATH or ssh://USER@SERVER/PATH. If it ends with "/", the
	// source is every repository below it.
	URL            string `json:"url"`
	User           string `json:"user,omitempty"`           // https: user name, with the token as the password; without it the token is a bearer token
	TokenFile      string `json:"tokenFile,omitempty"`      // https: contains the token
	CAFile         string `json:"caFile,omitempty"`         // https: PEM; certificate authorities, instead of the system's
	KeyFile        string `json:"keyFile,omitempty"`        // ssh: private key without a passphrase
	KnownHostsFile string `json:"knownHostsFile,omitempty"` // ssh: the server's host keys, in the format of OpenSSH
}

// byURL is the name in a request that names a repository by its address.
const byURL = "url"

// Paths are the fields that name files.
func (c *Config) Paths() []*string {
	return []*string{&c.TokenFile, &c.CAFile, &c.KeyFile, &c.KnownHostsFile}
}

// CheckConfigs adds everything that is wrong to bad, which is at the list. Nothing is
// opened.
func CheckConfigs(bad *config.Problems, list []Config) {
	seen := map[string]bool{}
	for i := range list {
		c := &list[i]
		bad := bad.Index("", i)
		switch {
		case c.Name == byURL:
			bad.Add("name", "%q has a meaning in requests; choose another name", c.Name)
		case !dnsname.IsLabel(c.Name) || seen[c.Name]:
			bad.Add("name", "%q is not a lower-case DNS label, or is used twice", c.Name)
		}
		seen[c.Name] = true
		a, problem := parseAddress(strings.TrimSuffix(c.URL, "/"))
		switch {
		case problem != "":
			bad.Add("url", "%s", problem)
		case !strings.Contains(c.URL, "://"):
			bad.Add("url", "must begin with https:// or ssh://")
		case a.scheme == "http" && !netaddr.IsLoopback(netaddr.Host(a.host)):
			bad.Add("url", "must begin with https://, because the server is not on this machine")
		}
		c.checkCredential(bad, a.scheme)
	}
}

func (c *Config) checkCredential(bad *config.Problems, scheme string) {
	ssh := scheme == "ssh"
	for _, f := range []struct {
		field, value  string
		ssh, required bool
	}{
		{"user", c.User, false, false}, {"tokenFile", c.TokenFile, false, c.User != ""}, {"caFile", c.CAFile, false, false},
		{"keyFile", c.KeyFile, true, true}, {"knownHostsFile", c.KnownHostsFile, true, true},
	} {
		switch {
		case f.ssh != ssh && f.value != "":
			bad.Add(f.field, "is not used with a url of %s; remove it", scheme)
		case f.ssh == ssh && f.required && f.value == "":
			bad.Add(f.field, "is required")
		}
	}
	if strings.Contains(c.User, ":") {
		bad.Add("user", "must not contain a colon")
	}
}

// address is where a repository is. The zero value names no repository.
type address struct {
	scheme string // https, ssh, or http on this machine
	user   string // of ssh
	host   string // with the port, if it is not the scheme's own; in lower case
	path   string // begins with "/" and does not end with it
}

// scpRE is the short form of an ssh address: git@example.com:shop/manifests.git.
var scpRE = regexp.MustCompile(`^([A-Za-z0-9._-]+)@([A-Za-z0-9.-]+):/?([^/].*)$`)

// segmentRE is one part of a repository's path. It begins with neither "." nor "-".
var segmentRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

const maxRepositoryParts = 16

// parseAddress parses a repository's address. Each has one spelling, except that ssh also
// has its short form. problem says what is wrong.
func parseAddress(raw string) (a address, problem string) {
	if m := scpRE.FindStringSubmatch(raw); m != nil && !strings.Contains(raw, "://") {
		raw = "ssh://" + m[1] + "@" + m[2] + "/" + m[3]
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return a, "is malformed"
	case u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "ssh" || u.Opaque != "":
		return a, "must begin with https:// or ssh://"
	case u.Hostname() == "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return a, "must be a server and a path, without query and fragment"
	case u.Scheme != "ssh" && u.User != nil:
		return a, "must not contain credentials"
	}
	a = address{scheme: u.Scheme, host: strings.ToLower(u.Host), path: u.Path}
	a.host = strings.TrimSuffix(a.host, map[string]string{"https": ":443", "http": ":80", "ssh": ":22"}[a.scheme])
	if a.scheme == "ssh" {
		password, ok := u.User.Password()
		if a.user = u.User.Username(); a.user == "" || ok || password != "" || !segmentRE.MatchString(a.user) {
			return address{}, "must be ssh://USER@SERVER/PATH without a password"
		}
	}
	parts := strings.Split(strings.TrimPrefix(a.path, "/"), "/")
	if a.path == "" {
		parts = nil
	}
	if len(parts) > maxRepositoryParts || slices.ContainsFunc(parts, func(s string) bool { return !segmentRE.MatchString(s) }) ||
		u.EscapedPath() != u.Path {
		return address{}, "has a path with an empty part, or a character that is not a letter, a digit or one of ._-"
	}
	return a, ""
}

// String returns the address in the form of a URL, without the user.
func (a address) String() string { return a.scheme + "://" + a.host + a.path }

// repository returns the name by which grants and policy know the repository: its path
// without ".git", which servers do not distinguish.
func (a address) repository() string { return strings.TrimSuffix(a.path, ".git") }

// place is a configured source, as far as requests need it.
type place struct {
	name  string
	at    address
	below bool // every repository below at
}

// places returns the sources of a list that may not have been checked; it leaves out those
// that are invalid.
func places(list []Config) (all []place) {
	for i := range list {
		text, below := strings.CutSuffix(list[i].URL, "/")
		if a, problem := parseAddress(text); problem == "" {
			all = append(all, place{list[i].Name, a, below})
		}
	}
	return all
}

// holds reports whether the repository at a belongs to the source.
func (p *place) holds(a address) bool {
	if a.scheme != p.at.scheme || a.user != p.at.user || a.host != p.at.host {
		return false
	}
	if p.below {
		return strings.HasPrefix(a.path, p.at.path+"/")
	}
	return a.repository() == p.at.repository()
}
