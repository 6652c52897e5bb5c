package helm

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	helmtime "helm.sh/helm/v3/pkg/time"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
)

// Bounds of reading release Secrets. Every user who may write Secrets can fill them, and
// since helm compresses a release, a Secret of 1 MiB can contain one of 1 GiB.
const (
	maxRelease  = 16 << 20  // unpacked
	maxHeld     = 256 << 20 // unpacked, of all releases in memory at a time
	maxListed   = 1 << 30   // unpacked, of all releases that a list reads, one after the other
	maxPacked   = 1 << 20   // a Secret's data
	maxSecret   = 4 << 20   // as JSON; etcd's own limit is 1.5 MiB
	maxKeys     = 100_000   // revisions of one list
	pageOfKeys  = 500
	leastOfKeys = 8 // Secrets per page: their metadata fits into maxPage, whatever its size
	maxPage     = 16 << 20
	maxSkips    = 20 // lines of a log per action
)

// key names the Secret of one revision of a release.
type key struct {
	namespace, release string
	revision           int
}

const keyPrefix = storage.HelmStorageType + "."

// secret returns the name of the Secret.
func (k key) secret() string { return keyPrefix + k.release + ".v" + strconv.Itoa(k.revision) }

// parseKey parses the name of a Secret; helm writes no other form.
func parseKey(namespace, secret string) (k key, ok bool) {
	rest, ok := strings.CutPrefix(secret, keyPrefix)
	dot := strings.LastIndex(rest, ".v")
	if !ok || dot <= 0 {
		return key{}, false
	}
	revision, err := strconv.Atoi(rest[dot+2:])
	k = key{namespace, rest[:dot], revision}
	return k, err == nil && revision > 0 && k.secret() == secret
}

// records is helm's storage of releases, in Secrets. It replaces helm's own driver, which
// unpacks without a bound and does not check the content. Here every read is bounded, and
// the releases that it returns are complete enough for helm. Its client is bound to the
// action's context. Safe for concurrent use.
type records struct {
	client    *cluster.Client
	namespace string // of the driver's methods; empty: none
	logger    *slog.Logger
	skips     atomic.Int64

	// The other fields are for changes; see writes.go.
	claim *claim      // of the operation in progress
	began atomic.Bool // a revision was created
	// stop ends the operation at once, and does not return; helm would only log the error.
	stop func(error)
	mu   sync.Mutex
	seen map[key]seen
}

// Get reads one revision, given the name of its Secret.
func (s *records) Get(secret string) (*release.Release, error) {
	k, ok := parseKey(s.namespace, secret)
	if !ok {
		return nil, driver.ErrReleaseNotFound
	}
	rel, err := s.read(context.Background(), k, true, newBudget(maxRelease))
	if err == nil { // as in helm's own driver: a rollback copies them
		maps.DeleteFunc(rel.Labels, func(label, _ string) bool { return ownLabel(label) })
	}
	return rel, err
}

// Query reads all revisions whose Secrets have the labels. Unreadable revisions are left
// out, except the newest of a release's whole history: helm would then start from the one
// before it, which would be wrong.
func (s *records) Query(set map[string]string) ([]*release.Release, error) {
	keys, err := s.keys(context.Background(), s.namespace, set)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(keys, newestFirst)
	read, failed, err := s.readAll(keys)
	if err != nil {
		return nil, err
	}
	if _, part := set["status"]; !part && len(keys) > 0 && failed[0] != nil {
		return nil, failed[0]
	}
	for _, err := range failed {
		s.skip(err)
	}
	found := slices.DeleteFunc(read, func(r *release.Release) bool { return r == nil })
	if len(found) == 0 {
		return nil, driver.ErrReleaseNotFound
	}
	return found, nil
}

// List is not supported, since it would keep every release of a namespace in memory.
func (*records) List(func(*release.Release) bool) ([]*release.Release, error) {
	return nil, errors.ErrUnsupported
}

// Delete removes one revision and returns it.
func (s *records) Delete(secret string) (*release.Release, error) {
	rel, err := s.Get(secret)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(context.Background(), &cluster.Request{Method: http.MethodDelete, Path: secretPath(s.namespace, secret), Limit: maxSecret})
	if err == nil {
		err = resp.Err()
	}
	return rel, err
}

// newest reads the newest revision of a release.
func (s *records) newest(ctx context.Context, releaseName string) (*release.Release, error) {
	keys, err := s.history(ctx, releaseName)
	if err != nil {
		return nil, err
	}
	return s.read(ctx, keys[0], true, newBudget(maxRelease))
}

// history returns the keys of the revisions of a release, newest first. The error is
// driver.ErrReleaseNotFound if it has none.
func (s *records) history(ctx context.Context, releaseName string) ([]key, error) {
	keys, err := s.keys(ctx, s.namespace, map[string]string{"owner": "helm", "name": releaseName})
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, driver.ErrReleaseNotFound
	}
	slices.SortFunc(keys, newestFirst)
	return keys, nil
}

// missing returns err. If err says that the revision of q's release does not exist, but
// the release does, it returns an error that names the revision.
func (s *records) missing(ctx context.Context, q *request, revision int, err error) error {
	if !errors.Is(err, driver.ErrReleaseNotFound) {
		return err
	}
	if _, none := s.history(ctx, q.release); none != nil {
		return none
	}
	return host.E(host.NotFound, name+"."+q.action, "release %q has no revision %d", q.release, revision)
}

func newestFirst(a, b key) int {
	return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.release, b.release), cmp.Compare(b.revision, a.revision))
}

// keys returns the keys of the revisions whose Secrets have the labels. It reads their
// metadata only. An empty namespace means all. A Secret whose label names another release
// than its name is ignored.
func (s *records) keys(ctx context.Context, namespace string, set map[string]string) ([]key, error) {
	selector, err := labels.Set(set).AsValidatedSelector()
	if err != nil {
		return nil, host.E(host.Invalid, name, "the release's name is not a valid label: %w", err)
	}
	var keys []key
	next, limit := "", pageOfKeys
	for {
		page, err := s.page(ctx, namespace, selector.String(), next, limit)
		if errors.Is(err, cluster.ErrTooLarge) && limit > leastOfKeys {
			limit = max(limit/4, leastOfKeys)
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			k, ok := parseKey(item.Metadata.Namespace, item.Metadata.Name)
			if wanted := set["name"]; ok && (wanted == "" || wanted == k.release) {
				keys = append(keys, k)
			}
		}
		if len(keys) > maxKeys {
			return nil, tooManyKeys()
		}
		if next = page.Metadata.Continue; next == "" {
			return keys, nil
		}
	}
}

func tooManyKeys() error {
	return host.E(host.Unprocessable, name, "there are over %d revisions of releases; name a namespace", maxKeys)
}

// page is one page of a list of Secrets.
type page struct {
	Metadata struct{ Continue string }
	Items    []struct {
		Metadata struct{ Name, Namespace string }
	}
}

func (s *records) page(ctx context.Context, namespace, selector, next string, limit int) (*page, error) {
	query := url.Values{"labelSelector": {selector}, "limit": {strconv.Itoa(limit)}}
	if next != "" {
		query.Set("continue", next)
	}
	resp, err := s.client.Do(ctx, &cluster.Request{
		Method: http.MethodGet, Path: secretPath(namespace, ""), Query: query, Limit: maxPage,
		Header: http.Header{"Accept": {"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}},
	})
	if err == nil {
		err = resp.Err()
	}
	if err != nil {
		return nil, err
	}
	p := new(page)
	if err := json.Unmarshal(resp.Body, p); err != nil {
		return nil, &host.Error{Kind: host.Upstream, Op: name, Message: "the cluster's list of releases cannot be read", Err: err}
	}
	return p, nil
}

func secretPath(namespace, secret string) string {
	path := "/api/v1"
	if namespace != "" {
		path += "/namespaces/" + namespace
	}
	path += "/secrets"
	if secret != "" {
		path += "/" + secret
	}
	return path
}

// readAll reads each of keys completely. failed has the reason for a revision that cannot
// be used; a revision that is gone by now has neither a release nor a reason.
func (s *records) readAll(keys []key) (read []*release.Release, failed []error, err error) {
	read, failed = make([]*release.Release, len(keys)), make([]error, len(keys))
	held := newBudget(maxHeld)
	group, ctx := errgroup.WithContext(context.Background())
	group.SetLimit(parallel)
	for i, k := range keys {
		group.Go(func() (err error) {
			defer capability.Recover(s.logger, name, &err)
			read[i], err = s.read(ctx, k, true, held)
			switch {
			case errors.Is(err, errDamaged):
				failed[i], err = err, nil
			case errors.Is(err, driver.ErrReleaseNotFound):
				err = nil
			}
			return err
		})
	}
	return read, failed, group.Wait()
}

// skip logs that a revision is left out.
func (s *records) skip(err error) {
	if err != nil && s.skips.Add(1) <= maxSkips {
		s.logger.Warn("a release's record is skipped", "error", err)
	}
}

// read reads one revision, completely or the part that lists show. The error is
// errDamaged if the record is not a valid release, and driver.ErrReleaseNotFound if it is
// absent.
func (s *records) read(ctx context.Context, k key, whole bool, b *budget) (*release.Release, error) {
	rel, _, err := s.readHead(ctx, k, whole, b)
	return rel, err
}

// get reads the Secret of a revision. The error is errDamaged if it is too large, and
// driver.ErrReleaseNotFound if it is absent.
func (s *records) get(ctx context.Context, k key, header http.Header) (*cluster.Response, error) {
	resp, err := s.client.Do(ctx, &cluster.Request{Method: http.MethodGet, Path: secretPath(k.namespace, k.secret()), Header: header, Limit: maxSecret})
	switch {
	case errors.Is(err, cluster.ErrTooLarge):
		return nil, k.damaged(err)
	case err != nil:
		return nil, err
	case resp.Status == http.StatusNotFound:
		return nil, driver.ErrReleaseNotFound
	}
	return resp, resp.Err()
}

// readHead is read; it also returns the record's metadata.
func (s *records) readHead(ctx context.Context, k key, whole bool, b *budget) (*release.Release, *head, error) {
	resp, err := s.get(ctx, k, nil)
	if err != nil {
		return nil, nil, err
	}
	var secret struct {
		Metadata struct {
			Labels, Annotations map[string]string
			ResourceVersion     string
		}
		Data struct{ Release []byte }
	}
	if err := json.Unmarshal(resp.Body, &secret); err != nil {
		return nil, nil, k.damaged(err)
	}
	text, err := unpack(secret.Data.Release, b)
	if err != nil {
		return nil, nil, k.damaged(err)
	}
	rel, err := decodeRelease(text, whole)
	if err == nil {
		err = k.check(rel)
	}
	if err != nil {
		return nil, nil, k.damaged(err)
	}
	rel.Labels = secret.Metadata.Labels
	h := &head{secret.Metadata.ResourceVersion, rel.Info.Status, decodeClaim(secret.Metadata.Annotations)}
	s.remember(k, h, rel.Info)
	return rel, h, nil
}

// errDamaged is wrapped by the error of a record that cannot be used.
var errDamaged = errors.New("damaged")

// damaged returns an error that names the revision and the reason. It returns the error
// of an exhausted budget unchanged, since that is not a defect of the revision.
func (k key) damaged(why error) error {
	if e, ok := errors.AsType[*host.Error](why); ok && errors.Is(why, errBudget) {
		return e
	}
	return &host.Error{Kind: host.Unprocessable, Op: name,
		Message: fmt.Sprintf("revision %d of release %q in namespace %q cannot be read", k.revision, k.release, k.namespace),
		Detail:  why.Error(), Err: fmt.Errorf("%w: %w", errDamaged, why)}
}

// check checks that r is the release of k and has all parts that helm relies on, and
// fills in optional ones.
func (k key) check(r *release.Release) error {
	switch {
	case r.Info == nil:
		return errors.New("it has no info")
	case r.Chart == nil || r.Chart.Metadata == nil:
		return errors.New("it has no chart")
	case slices.Contains(r.Hooks, nil):
		return errors.New("it has an empty hook")
	case r.Name != k.release || r.Version != k.revision || r.Namespace != "" && r.Namespace != k.namespace:
		return errors.New("it is a record of something else")
	}
	r.Namespace = k.namespace
	return nil
}

// budget is the number of bytes that may still be unpacked. Safe for concurrent use.
type budget struct {
	left  atomic.Int64
	total int64
}

func newBudget(total int64) *budget {
	b := &budget{total: total}
	b.left.Store(total)
	return b
}

// errBudget is wrapped by the error of a read that would unpack too much.
var errBudget = errors.New("too much to unpack")

func (b *budget) spend(n int) error {
	if b.left.Add(-int64(n)) >= 0 {
		return nil
	}
	return &host.Error{Kind: host.Unprocessable, Op: name, Err: errBudget,
		Message: fmt.Sprintf("the releases are over %d MiB; narrow the request or remove old revisions", b.total>>20)}
}

var gzipMagic = []byte{0x1f, 0x8b, 0x08}

// unpack decodes helm's base64 and, except for old releases, gzip.
func unpack(packed []byte, b *budget) ([]byte, error) {
	text, err := base64.StdEncoding.DecodeString(string(packed))
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(text, gzipMagic) {
		z, err := gzip.NewReader(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		if text, err = io.ReadAll(io.LimitReader(z, maxRelease+1)); err != nil {
			return nil, err
		}
	}
	if len(text) > maxRelease {
		_ = b.spend(maxRelease)
		return nil, fmt.Errorf("it is over %d MiB", maxRelease>>20)
	}
	return text, b.spend(len(text))
}

// decodeWhole keeps the digits of numbers in values.
func decodeWhole(text []byte, rel *release.Release) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(rel); err != nil {
		return err
	}
	if rel.Config != nil {
		plain(rel.Config)
	}
	if rel.Chart != nil && rel.Chart.Values != nil {
		plain(rel.Chart.Values)
	}
	return nil
}

// decodeRelease decodes a release completely, or the part that lists show: values and
// templates can take many times the size of their text in memory.
func decodeRelease(text []byte, whole bool) (*release.Release, error) {
	rel := new(release.Release)
	if whole {
		return rel, decodeWhole(text, rel)
	}
	var brief struct {
		Name, Namespace string
		Version         int
		Info            *struct {
			LastDeployed helmtime.Time `json:"last_deployed"`
			Status       release.Status
			Description  string
		}
		Chart *struct {
			Metadata *struct{ Name, Version, AppVersion string }
		}
	}
	if err := json.Unmarshal(text, &brief); err != nil {
		return nil, err
	}
	rel.Name, rel.Namespace, rel.Version = brief.Name, brief.Namespace, brief.Version
	if i := brief.Info; i != nil {
		rel.Info = &release.Info{LastDeployed: i.LastDeployed, Status: i.Status, Description: i.Description}
	}
	if c := brief.Chart; c != nil && c.Metadata != nil {
		rel.Chart = &chart.Chart{Metadata: &chart.Metadata{Name: c.Metadata.Name, Version: c.Metadata.Version, AppVersion: c.Metadata.AppVersion}}
	}
	return rel, nil
}
