package helm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v3/pkg/chart"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

// Repository is a source of charts. Exactly one of Path and URL is set.
type Repository struct {
	Name string `json:"name"`           // before the "/" of a chart's name
	Path string `json:"path,omitempty"` // directory of charts, unpacked or as NAME-VERSION.tgz; read again for each chart
	// URL is the address of a directory with an index.yaml (https://…), or of a path
	// in an OCI registry (oci://…) below which each chart is a repository.
	URL       string `json:"url,omitempty"`
	User      string `json:"user,omitempty"`      // user name at URL, with the token as the password; without it the token is a bearer token
	TokenFile string `json:"tokenFile,omitempty"` // contains the token, which is sent to URL's own address only
	TokenEnv  string `json:"tokenEnv,omitempty"`  // environment variable that contains the token, instead of tokenFile
	CAFile    string `json:"caFile,omitempty"`    // PEM; certificate authorities, instead of the system's
}

// Bounds of the data that is read from a repository, in bytes.
const (
	maxArchive = 20 << 20
	maxIndex   = 64 << 20
	maxChart   = 32 << 20 // unpacked
	maxFiles   = 4096     // of an unpacked chart
)

var chartRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// source is one repository.
type source interface {
	load(ctx context.Context, chart, version string) (*chart.Chart, error)
	close()
}

// charts is the repositories, by name.
type charts struct{ sources map[string]source }

// Check adds everything wrong with c that shows without opening a directory to bad.
func (c Config) Check(bad *config.Problems) {
	seen := map[string]bool{}
	for i, r := range c.Repositories {
		bad := bad.Index("repositories", i)
		if !dnsname.IsLabel(r.Name) || seen[r.Name] {
			bad.Add("name", "%q is not a lower-case name, or is used twice", r.Name)
		}
		if field, text := r.problem(); text != "" {
			bad.Add(field, "%s", text)
		}
		seen[r.Name] = true
	}
}

// problem returns a field of where charts are that is wrong, and why.
func (r *Repository) problem() (field, text string) {
	if (r.Path == "") == (r.URL == "") {
		return "path", "give either path or url, not both"
	}
	if r.Path != "" {
		if r.User+r.TokenFile+r.TokenEnv+r.CAFile != "" {
			return "path", "user, tokenFile, tokenEnv and caFile require url"
		}
		return "", ""
	}
	u, err := url.Parse(r.URL)
	switch {
	case err != nil:
		return "url", "is malformed"
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "url", "must have neither user, query nor fragment; credentials are user and tokenFile or tokenEnv"
	case u.Host == "" || !(u.Scheme == "https" || u.Scheme == "oci" || u.Scheme == "http" && netaddr.IsLoopback(u.Hostname())):
		return "url", "must begin with https:// or oci://"
	case u.Scheme == "oci" && !ociPathRE.MatchString(u.Path):
		return "url", "must be oci://REGISTRY/PATH in lower case"
	case r.TokenFile != "" && r.TokenEnv != "":
		return "tokenEnv", "give either tokenFile or tokenEnv, not both"
	case r.User != "" && r.TokenFile+r.TokenEnv == "":
		return "user", "requires tokenFile or tokenEnv"
	case strings.Contains(r.User, ":"):
		return "user", "must not contain a colon"
	}
	return "", ""
}

// ociPathRE is the path in a registry below which charts are, in the grammar of the OCI
// distribution specification; it may be empty.
var ociPathRE = regexp.MustCompile(`^(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*/?$`)

// Paths returns the fields of c that name files.
func (c *Config) Paths() []*string {
	var list []*string
	for i := range c.Repositories {
		r := &c.Repositories[i]
		list = append(list, &r.Path, &r.TokenFile, &r.CAFile)
	}
	return list
}

func openCharts(c Config, log *slog.Logger) (*charts, error) {
	var bad config.Problems
	at := bad.At("helm")
	if c.Check(at); bad.Err() != nil {
		return nil, bad.Err()
	}
	list := &charts{sources: map[string]source{}}
	for i, r := range c.Repositories {
		s, err := openSource(r, log)
		if err != nil {
			at.Index("repositories", i).AddError(err)
			continue
		}
		list.sources[r.Name] = s
	}
	if err := bad.Err(); err != nil {
		list.close()
		return nil, err
	}
	return list, nil
}

// openSource opens a repository that was checked. Its error names the field.
func openSource(r Repository, log *slog.Logger) (source, error) {
	if r.Path != "" {
		root, err := os.OpenRoot(r.Path)
		if err != nil {
			return nil, config.At("path", err)
		}
		return &directory{r.Path}, root.Close()
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, config.At("url", errors.New("is malformed"))
	}
	place, oci := strings.CutPrefix(strings.TrimRight(r.URL, "/"), ociScheme)
	if oci {
		u = ociBase(u.Host)
	}
	a, err := newAccess(&r, u, log)
	if err != nil {
		return nil, err
	}
	if oci {
		return &ociRepository{a, place}, nil
	}
	return newRemote(a), nil
}

func (c *charts) close() {
	for _, s := range c.sources {
		s.close()
	}
}

// load finds REPOSITORY/CHART. The error for an unknown repository or chart is of kind
// NotFound.
func (c *charts) load(ctx context.Context, ref, version string) (*chart.Chart, error) {
	repository, chartName, ok := strings.Cut(ref, "/")
	if !ok || !chartRE.MatchString(chartName) || !dnsname.IsLabel(repository) {
		return nil, host.E(host.Invalid, name, "chart: %q must be REPOSITORY/CHART", text.Short(ref))
	}
	s := c.sources[repository]
	if s == nil {
		return nil, host.E(host.NotFound, name, "the chart repository %q does not exist", repository)
	}
	if err := checkVersion(version); err != nil {
		return nil, err
	}
	ch, err := s.load(ctx, chartName, version)
	if err != nil {
		return nil, chartFailure(ref, err)
	}
	if err := ch.Validate(); err != nil {
		return nil, chartFailure(ref, err)
	}
	return ch, nil
}

// checkVersion refuses what is neither a version nor a constraint.
func checkVersion(version string) error {
	const limit = 100
	if len(version) > limit {
		return host.E(host.Invalid, name, "the chart's version is over %d characters", limit)
	}
	if _, err := semver.NewConstraint(version); version != "" && err != nil {
		return host.E(host.Invalid, name, "version: %q must be a version, or a constraint such as ^1.2", version)
	}
	return nil
}

var errNoChart = errors.New("no such chart or version")

func chartFailure(ref string, err error) error {
	if e, ok := errors.AsType[*host.Error](err); ok {
		return e
	}
	if errors.Is(err, errNoChart) {
		return &host.Error{Kind: host.NotFound, Op: name, Message: fmt.Sprintf("chart %q does not exist in this version", ref), Err: err}
	}
	out := &host.Error{Kind: host.Upstream, Op: name, Message: fmt.Sprintf("chart %q cannot be loaded", ref), Detail: err.Error(), Err: err}
	if p, ok := errors.AsType[*private](err); ok {
		out.Detail = p.public
	}
	return out
}
