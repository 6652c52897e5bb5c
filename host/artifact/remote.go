package source

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
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

	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

// fetchTimeout bounds one download.
const fetchTimeout = time.Minute

// remote is a bundle somewhere else. What was published last is kept on disk, so
// that a host can start while that place is away.
type remote struct {
	bundle *Bundle
	fetch  fetcher
	origin string
	kept   string // file of the bundle that was published last; empty: none is kept
	client *http.Client
	log    *slog.Logger

	// Of the last bundle that was taken, so that "not modified" means it again.
	tag     string
	content *Content
	packed  []byte // of content, until it is published
	// answered: there was something to take; the copy on disk may be older.
	answered bool
}

// fetcher gets a bundle. If what is there has the tag already, packed is nil.
type fetcher func(ctx context.Context, tag string) (packed []byte, newTag string, err error)

func openRemote(b *Bundle, keep string, log *slog.Logger) (Source, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	// A bundle is packed by itself. What the transport unpacked in passing would be
	// no bundle, and in a registry not what the digest names.
	transport.MaxIdleConns, transport.DisableCompression = 2, true
	followed, err := follow.NewTransport(transport, b.CAFile, log)
	if err != nil {
		return nil, fmt.Errorf("bundle.caFile: %w", err)
	}
	if _, err := b.verification(); err != nil { // a mistake in it is told at once
		return nil, err
	}
	r := &remote{bundle: b, log: log, client: &http.Client{Transport: followed, CheckRedirect: staysEncrypted}}
	if b.OCI != "" {
		r.fetch, r.origin = r.fetchOCI, "oci://"+b.OCI
	} else {
		origin, _, _ := strings.Cut(b.URL, "?") // what follows may be a secret
		r.fetch, r.origin = r.fetchURL, origin
	}
	if keep != "" {
		sum := sha256.Sum256([]byte(cmp.Or(b.URL, r.origin)))
		r.kept = filepath.Join(keep, hex.EncodeToString(sum[:8])+".tar.gz")
	}
	return r, nil
}

func (r *remote) Load(ctx context.Context) (*Content, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	packed, tag, err := r.fetch(ctx, r.tag)
	away := errors.Is(err, ErrUnreachable)
	r.answered = r.answered || !away
	switch {
	case away && !r.answered && r.content == nil:
		return r.loadKept(err)
	case err != nil:
		return nil, err
	case packed == nil:
		if err := r.content.Stamp.fresh(time.Now()); err != nil {
			return nil, fmt.Errorf("%s: %w", r.origin, err)
		}
		return r.content, nil
	}
	content, err := r.read(packed, r.origin)
	if err != nil {
		return nil, err // it is asked for again, since it may be a key that is mended
	}
	r.tag, r.content, r.packed = tag, content, packed
	return content, nil
}

// read verifies a bundle, and that it is no older than what was published before.
func (r *remote) read(packed []byte, origin string) (*Content, error) {
	c, err := r.bundle.verified(packed, origin)
	if err != nil || r.kept == "" || len(r.bundle.Keys) == 0 {
		return c, err
	}
	last, err := readRemembered(r.serialPath())
	if err == nil {
		err = last.admits(c)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", origin, err)
	}
	return c, nil
}

func (r *remote) serialPath() string { return r.kept + ".serial" }

// Publish remembers the serial first: a serial without its copy costs a start while
// the place is away, a copy without its serial could be replayed.
func (r *remote) Publish(c *Content) error {
	if c != r.content || r.packed == nil || r.kept == "" {
		return nil
	}
	if c.Stamp.Serial > 0 {
		text, err := json.Marshal(remembered{c.Stamp.Serial, c.Digest})
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
func (r *remote) loadKept(why error) (*Content, error) {
	if r.kept == "" {
		return nil, why
	}
	packed, err := readFile(r.kept)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, why
	}
	if err == nil {
		r.content, err = r.read(packed, r.origin+" (the copy on disk)")
	}
	if err != nil {
		return nil, errors.Join(why, err)
	}
	r.log.Warn("policy is the copy on disk", "source", r.origin, "error", why)
	return r.content, nil
}

// write leaves either the old or the new content at path.
func (r *remote) write(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".next", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".next", path)
}

func (r *remote) Run(ctx context.Context, changed func()) {
	defer r.client.CloseIdleConnections()
	poll := time.Duration(r.bundle.Poll)
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

func (r *remote) Close() error {
	r.client.CloseIdleConnections()
	return nil
}

// token is what TokenFile holds now.
func (r *remote) token() (string, error) {
	if r.bundle.TokenFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(r.bundle.TokenFile)
	if err != nil {
		return "", fmt.Errorf("bundle.tokenFile: %w", err)
	}
	return strings.TrimSpace(string(strictyaml.TrimBOM(text))), nil
}

func (r *remote) fetchURL(ctx context.Context, tag string) ([]byte, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.bundle.URL, nil)
	if err != nil {
		return nil, "", err
	}
	token, err := r.token()
	switch {
	case err != nil:
		return nil, "", err
	case r.bundle.User != "":
		req.SetBasicAuth(r.bundle.User, token)
	case token != "":
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if tag != "" {
		req.Header.Set("If-None-Match", tag)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, "", unreachable(r.origin, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && tag != "":
		return nil, tag, nil
	case resp.StatusCode != http.StatusOK:
		return nil, "", unreachable(r.origin, answers(resp.StatusCode))
	}
	packed, err := readBounded(resp.Body)
	switch {
	case errors.Is(err, errTooLarge):
		return nil, "", fmt.Errorf("%s: %w", r.origin, err)
	case err != nil && ctx.Err() == nil:
		return nil, "", unreachable(r.origin, err)
	}
	if err == nil {
		if packed, err = decoded(packed, resp.Header.Get("Content-Encoding")); err != nil {
			err = fmt.Errorf("%s: %w", r.origin, err)
		}
	}
	return packed, resp.Header.Get("ETag"), err
}

// decoded takes off a content encoding (RFC 9110, section 8.4). Many servers call a
// file's own gzip that, so one layer of two is taken off, and an only one stays.
func decoded(packed []byte, encoding string) ([]byte, error) {
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
	inner, err := readBounded(z)
	if err == nil && bytes.HasPrefix(inner, []byte{0x1f, 0x8b}) {
		return inner, nil
	}
	return packed, nil
}

// unreachable is without the URL, in whose query or that of a redirect there may
// be a secret.
func unreachable(origin string, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return fmt.Errorf("%s %w: %w", origin, ErrUnreachable, err)
}

func answers(status int) error {
	return fmt.Errorf("it answers %d %s", status, http.StatusText(status))
}

// staysEncrypted refuses redirects that lead from https to anything else: the
// token and an unsigned bundle would travel in plain text.
func staysEncrypted(to *http.Request, via []*http.Request) error {
	switch {
	case len(via) >= 10:
		return errors.New("more than 10 redirects")
	case via[0].URL.Scheme == "https" && to.URL.Scheme != "https":
		return errors.New("the redirect leaves https")
	}
	return nil
}
