package artifact

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// fetchTimeout bounds one download.
const fetchTimeout = time.Minute

// remote is an artifact somewhere else. The last published one is kept on disk, so
// that a host can start while that place is away.
type remote[T comparable] struct {
	from   Location
	ref    Reference // of from
	format Format[T]
	fetch  fetcher
	origin string
	kept   string // file of the artifact that was published last; empty: none is kept
	client *http.Client
	log    *slog.Logger

	// Of the last artifact that was taken, so that "not modified" means it again.
	tag     string
	content T // the zero value: none was taken yet
	claims  Claims
	packed  []byte // of content, until it is published
	// answered: there was something to take; the copy on disk may be older.
	answered bool
}

// fetcher gets an artifact. If what is there has the tag already, packed is nil.
type fetcher func(ctx context.Context, tag string) (packed []byte, newTag string, err error)

func openRemote[T comparable](from Location, f Format[T], keep string, log *slog.Logger) (Source[T], error) {
	ref, err := from.reference()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Field, err)
	}
	client, err := from.Access.client(ref.home(), log)
	if err != nil {
		return nil, fmt.Errorf("%s.%w", f.Field, err)
	}
	r := &remote[T]{from: from, ref: ref, format: f, client: client, log: log, origin: ref.Origin()}
	r.fetch = r.fetchURL
	if ref.scheme == schemeOCI {
		r.fetch = r.fetchOCI
	}
	if keep != "" {
		sum := sha256.Sum256([]byte(cmp.Or(from.URL, r.origin)))
		r.kept = filepath.Join(keep, hex.EncodeToString(sum[:8])+".tar.gz")
	}
	return r, nil
}

func (r *remote[T]) Load(ctx context.Context) (none T, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	packed, tag, err := r.fetch(ctx, r.tag)
	away := errors.Is(err, ErrUnreachable)
	r.answered = r.answered || !away
	switch {
	case away && !r.answered && r.content == none:
		return r.loadKept(err)
	case err != nil:
		return none, err
	case packed == nil:
		if err := r.claims.Fresh(time.Now()); err != nil {
			return none, fmt.Errorf("%s: %w", r.origin, err)
		}
		return r.content, nil
	}
	content, claims, err := r.read(packed, r.origin)
	if err != nil {
		return none, err // without its tag, it is fetched again: a key may be corrected
	}
	r.tag, r.content, r.claims, r.packed = tag, content, claims, packed
	return content, nil
}

// read verifies an artifact, and that it is not older than the last published one.
func (r *remote[T]) read(packed []byte, origin string) (content T, claims Claims, err error) {
	content, claims, err = r.format.Verify(packed, origin)
	if err != nil || r.kept == "" || !r.format.Signed {
		return content, claims, err
	}
	last, err := readRemembered(r.serialPath())
	if err == nil {
		err = last.admits(claims)
	}
	if err != nil {
		var none T
		return none, Claims{}, fmt.Errorf("%s: %w", origin, err)
	}
	return content, claims, nil
}

func (r *remote[T]) serialPath() string { return r.kept + ".serial" }

// Publish remembers the serial first: a serial without its copy costs a start while
// the place is away, a copy without its serial could be replayed.
func (r *remote[T]) Publish(c T) error {
	if c != r.content || r.packed == nil || r.kept == "" {
		return nil
	}
	if r.claims.Serial > 0 {
		text, err := json.Marshal(remembered{r.claims.Serial, r.claims.Digest})
		if err == nil {
			err = r.write(r.serialPath(), text)
		}
		if err != nil {
			return fmt.Errorf("its serial cannot be remembered: %w", err)
		}
	}
	if err := r.write(r.kept, r.packed); err != nil {
		r.log.Warn("no copy of the policy could be kept on disk", "error", err)
	}
	r.packed = nil
	return nil
}

// loadKept answers with the copy on disk, which is verified like any other.
func (r *remote[T]) loadKept(why error) (none T, err error) {
	if r.kept == "" {
		return none, why
	}
	packed, err := ReadFile(r.kept, r.format.Limit)
	if errors.Is(err, fs.ErrNotExist) {
		return none, why
	}
	if err == nil {
		r.content, r.claims, err = r.read(packed, r.origin+" (the copy on disk)")
	}
	if err != nil {
		return none, errors.Join(why, err)
	}
	r.log.Warn("policy is the copy on disk", "source", r.origin, "error", why)
	return r.content, nil
}

// write leaves either the old or the new content at path.
func (r *remote[T]) write(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".next", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".next", path)
}

func (r *remote[T]) Run(ctx context.Context, changed func()) {
	defer r.client.CloseIdleConnections()
	poll := time.Duration(r.from.Poll)
	if poll == 0 {
		poll = defaultPoll
	}
	for {
		// Spread, so that replicas do not ask all at once.
		wait := time.NewTimer(poll*9/10 + rand.N(poll/5+1))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
			changed()
		}
	}
}

func (r *remote[T]) Close() error {
	r.client.CloseIdleConnections()
	return nil
}

func (r *remote[T]) fetchURL(ctx context.Context, tag string) ([]byte, string, error) {
	if _, err := r.from.token(); err != nil {
		return nil, "", fmt.Errorf("%s.%w", r.format.Field, err)
	}
	got, err := get(ctx, r.client, r.from.URL, &r.from.Access, tag, r.format.Limit)
	switch {
	case err != nil:
		return nil, "", r.about(err)
	case got.unchanged:
		return nil, tag, nil
	}
	packed, err := decoded(got.body, got.encoding, r.format.Limit)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", r.origin, err)
	}
	return packed, got.etag, nil
}

// fetchOCI gets the layer of an artifact; its tag is the manifest's digest.
// Every byte is compared with the digest that leads to it.
func (r *remote[T]) fetchOCI(ctx context.Context, tag string) ([]byte, string, error) {
	packed, tag, err := r.layer(ctx, tag)
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		err = r.about(&plain{refusal})
	}
	return packed, tag, err
}

func (r *remote[T]) layer(ctx context.Context, tag string) ([]byte, string, error) {
	p, err := repository(r.client, r.ref, r.from.Access)
	if err != nil {
		return nil, "", fmt.Errorf("%s.%w", r.format.Field, err)
	}
	top, err := resolve(ctx, p, r.ref)
	if err != nil || top.Digest.String() == tag {
		return nil, tag, err
	}
	text, err := fetch(ctx, p, top, maxManifest, "its manifest", nil)
	if err != nil {
		return nil, "", err
	}
	m, err := readManifest(text)
	if err != nil {
		return nil, "", err
	}
	layer, err := fileLayer(m, ocispec.MediaTypeImageLayerGzip)
	if err != nil {
		return nil, "", err
	}
	packed, err := fetch(ctx, p, layer, r.format.Limit, "its file", nil)
	return packed, top.Digest.String(), err
}

// about puts the origin in front of err.
func (r *remote[T]) about(err error) error {
	if errors.Is(err, ErrUnreachable) { // whose text goes on from it
		return fmt.Errorf("%s %w", r.origin, err)
	}
	return fmt.Errorf("%s: %w", r.origin, err)
}

// plain is a refusal's text without its step.
type plain struct{ *Refusal }

func (p *plain) Error() string { return p.Text }
func (p *plain) Unwrap() error { return p.Refusal }

// response is what a server sent for a file.
type response struct {
	body           []byte
	etag, encoding string
	unchanged      bool // the file still has the ETag that it had
}

// get fetches a file of at most limit bytes. Errors do not contain the address.
func get(ctx context.Context, client *http.Client, address string, a *Access, etag string, limit int64) (*response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if err := a.authorize(req); err != nil {
		return nil, err
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, unreachable(err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && etag != "":
		return &response{unchanged: true}, nil
	case resp.StatusCode != http.StatusOK:
		return nil, unreachable(answers(resp.StatusCode))
	}
	body, err := readBounded(resp.Body, limit)
	switch {
	case errors.Is(err, tooLarge(limit)):
		return nil, err
	case err != nil:
		return nil, unreachable(err)
	}
	return &response{body: body, etag: resp.Header.Get("ETag"), encoding: resp.Header.Get("Content-Encoding")}, nil
}

// decoded takes off a content encoding (RFC 9110, section 8.4). Many servers call a
// file's own gzip that, so one layer of two is taken off, and an only one stays.
func decoded(packed []byte, encoding string, limit int64) ([]byte, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		return packed, nil
	case "gzip", "x-gzip":
	default:
		return nil, fmt.Errorf("it is sent with the content encoding %q, which was not asked for", encoding)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return packed, nil // unpacking says what it is
	}
	inner, err := readBounded(z, limit)
	if err == nil && bytes.HasPrefix(inner, []byte{0x1f, 0x8b}) {
		return inner, nil
	}
	return packed, nil
}

// unreachable is without the URL, in whose query or that of a redirect there may
// be a secret.
func unreachable(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		err = fmt.Errorf("%w; give its authority in caFile", err)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}
