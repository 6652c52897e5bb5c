package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxPlugin bounds a plugin's file, in bytes.
const MaxPlugin = 64 << 20

// Artifact is content that was verified.
type Artifact struct {
	Bytes  []byte
	Digest string // of Bytes: "sha256:…"
	// Reference names exactly what was fetched: for a registry or layout it is pinned to
	// the manifest.
	Reference Reference
	// Identities are the signers that the policy asked for and that signed; none for an
	// unsigned artifact.
	Identities []string
	// Cached says that Bytes are the copy on disk, and that Source was not asked, or could
	// not be reached.
	Cached bool
	Source string // where it is from, for people; without secrets
}

// Client fetches artifacts and puts them into registries and layouts. It keeps nothing.
// Its methods are safe for concurrent use.
type Client struct {
	Log *slog.Logger // nil: none
	// Progress is called while a file is moved, with the bytes so far and in all; total
	// is 0 if it is not known.
	Progress func(what string, done, total int64)
}

func (c *Client) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

// progress counts the bytes of one transfer.
func (c *Client) progress(what string, total int64) func(n int) {
	if c.Progress == nil {
		return nil
	}
	var done int64
	return func(n int) {
		done += int64(n)
		c.Progress(what, done, total)
	}
}

// Pull fetches a plugin and verifies it: digest, signatures, format, in this order and
// before anything else reads it. Errors are Refusals.
func (c *Client) Pull(ctx context.Context, p Package) (*Artifact, error) {
	t, err := p.open()
	if err != nil {
		return nil, err
	}
	e, err := c.fetch(ctx, t)
	if err != nil {
		return nil, about(t.ref, StepFetch, err)
	}
	return t.accept(e)
}

// task is a Package that is read and checked.
type task struct {
	Package
	ref    Reference
	policy *policy // nil: no signature is asked for
}

// open checks p and reads its keys. Errors are Refusals.
func (p Package) open() (*task, error) {
	var problem error
	p.Problems(func(field, text string) {
		if problem == nil {
			origin := "the package"
			if ref, err := ParseReference(p.Source); err == nil {
				origin = ref.Origin()
			}
			problem = &Refusal{Origin: origin, Step: StepReference, Field: trimDot(field), Text: text}
		}
	})
	if problem != nil {
		return nil, problem
	}
	ref, err := ParseReference(p.Source)
	if err != nil {
		return nil, &Refusal{Origin: "the package", Step: StepReference, Field: "source", Text: err.Error(), Err: err}
	}
	t := &task{Package: p, ref: ref}
	if p.Verification.Required() {
		if t.policy, err = p.Verification.open(); err != nil {
			return nil, about(ref, StepReference, err)
		}
	}
	return t, nil
}

func trimDot(field string) string {
	if len(field) > 0 && field[0] == '.' {
		return field[1:]
	}
	return field
}

// evidence is an artifact with what is said to prove it. Nothing of it is verified.
type evidence struct {
	file     []byte
	manifest []byte // nil: the artifact is a file alone
	proofs   []proof
}

// fetch gets the evidence for t. Of something in a registry or layout it verifies the
// manifest's signatures before it reads the manifest and fetches the file.
func (c *Client) fetch(ctx context.Context, t *task) (*evidence, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	switch {
	case t.ref.Registered():
		return c.fetchRegistered(ctx, t)
	case t.ref.Local():
		return readLocal(t)
	}
	return c.fetchURL(ctx, t)
}

func (c *Client) fetchRegistered(ctx context.Context, t *task) (*evidence, error) {
	p, done, err := openPlace(t.ref, t.Access, c.log())
	if err != nil {
		return nil, err
	}
	defer done()
	top, err := resolve(ctx, p, t.ref)
	if err != nil {
		return nil, err
	}
	e := &evidence{}
	if e.manifest, err = fetch(ctx, p, top, maxManifest, "its manifest", nil); err != nil {
		return nil, err
	}
	if t.policy != nil {
		if e.proofs, err = signatures(ctx, p, top); err != nil {
			return nil, err
		}
	}
	if _, err := t.signed(e); err != nil {
		return nil, err
	}
	layer, err := e.layer()
	if err != nil {
		return nil, err
	}
	e.file, err = fetch(ctx, p, layer, MaxPlugin, "its file", c.progress("fetching "+t.ref.Origin(), layer.Size))
	return e, err
}

func readLocal(t *task) (e *evidence, err error) {
	e = &evidence{}
	if e.file, err = ReadFile(t.ref.path, MaxPlugin); err != nil {
		return nil, refuse(StepFetch, "source", "%w; correct the path or the file", err)
	}
	if t.policy == nil {
		return e, nil
	}
	for _, detached := range detachedFiles {
		text, err := ReadFile(t.ref.path+detached.suffix, maxBundle)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, refuse(StepFetch, "source", "%w; correct the file with the signatures", err)
		}
		if err := e.detached(detached.read, t.ref.path+detached.suffix, text); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// detachedFiles hold the signatures of a file, beside it.
var detachedFiles = []struct {
	suffix string
	read   func([]byte) ([]proof, error)
}{{".sig", readDetached}, {".sigstore.json", readBundles}}

func (e *evidence) detached(read func([]byte) ([]proof, error), name string, text []byte) error {
	proofs, err := read(text)
	if err != nil {
		return refuse(StepSignature, "", "%s: %w", name, err)
	}
	if e.proofs = append(e.proofs, proofs...); len(e.proofs) > maxSignatures {
		return refuse(StepSignature, "", "%s: there are over %d signatures; remove some", name, maxSignatures)
	}
	return nil
}

func (c *Client) fetchURL(ctx context.Context, t *task) (*evidence, error) {
	client, err := t.Access.client(t.ref.home(), c.log())
	if err != nil {
		return nil, refuse(StepReference, "", "%w", err)
	}
	defer client.CloseIdleConnections()
	e := &evidence{}
	got, err := get(ctx, client, t.ref.url, &t.Access, "", MaxPlugin)
	if err != nil {
		return nil, refuse(StepFetch, "", "%w", err)
	}
	if got.encoding != "" && got.encoding != "identity" {
		return nil, refuse(StepFetch, "", "it is sent with the content encoding %.50q, which was not asked for; switch it off for this file", got.encoding)
	}
	e.file = got.body
	if seen := c.progress("fetching "+t.ref.Origin(), int64(len(e.file))); seen != nil {
		seen(len(e.file))
	}
	if t.policy == nil {
		return e, nil
	}
	for _, detached := range detachedFiles {
		u, err := url.Parse(t.ref.url)
		if err != nil {
			return nil, err
		}
		u = u.JoinPath()
		u.Path += detached.suffix
		if u.RawPath != "" {
			u.RawPath += detached.suffix
		}
		got, err := get(ctx, client, u.String(), &t.Access, "", maxBundle)
		if missing(err) {
			continue
		}
		if err != nil {
			return nil, refuse(StepFetch, "", "its signatures, %s: %w", detached.suffix, err)
		}
		if err := e.detached(detached.read, detached.suffix, got.body); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// signed verifies the signatures of e under t's policy.
func (t *task) signed(e *evidence) (identities []string, err error) {
	if t.policy == nil {
		if !t.Verification.Unsigned && !t.ref.Local() {
			return nil, refuse(StepSignature, "verification", "lists no identity that must have signed; add anyOf or allOf, or unsigned: true to use it without a signature")
		}
		return nil, nil
	}
	s := subjectOf(e.file, false)
	if e.manifest != nil {
		s = subjectOf(e.manifest, true)
	}
	return t.policy.verify(s, e.proofs)
}

// layer is the descriptor of the file in e's manifest.
func (e *evidence) layer() (ocispec.Descriptor, error) {
	m, err := readManifest(e.manifest)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return fileLayer(m, TypePlugin)
}

// accept verifies e as a whole and makes it an Artifact.
func (t *task) accept(e *evidence) (*Artifact, error) {
	a, err := t.verify(e)
	return a, about(t.ref, StepFormat, err)
}

func (t *task) verify(e *evidence) (*Artifact, error) {
	a := &Artifact{Bytes: e.file, Reference: t.ref, Source: t.ref.Origin()}
	file := subjectOf(e.file, false).digest
	a.Digest = file.String()
	if e.manifest != nil {
		manifest := subjectOf(e.manifest, true).digest
		if t.ref.digest != "" && t.ref.digest != manifest {
			return nil, refuse(StepDigest, "source", "the manifest is %s, and the reference pins %s", manifest, t.ref.digest)
		}
		a.Reference = t.ref.at(manifest)
	}
	if t.Digest != "" && t.Digest != a.Digest {
		return nil, refuse(StepDigest, "digest", "the file is %s, and the configuration pins %s; find out who changed the file, or correct digest", a.Digest, t.Digest)
	}
	var err error
	if a.Identities, err = t.signed(e); err != nil {
		return nil, err
	}
	if e.manifest != nil {
		layer, err := e.layer()
		if err != nil {
			return nil, err
		}
		if layer.Digest != file {
			return nil, refuse(StepDigest, "", "the file is %s, and the manifest names %s", file, layer.Digest)
		}
	}
	return a, checkModule(e.file)
}

// checkModule looks at the first bytes of a core module (WebAssembly 1.0, section
// 5.5.16). Whether it can be used is for the sandbox to say.
func checkModule(file []byte) error {
	switch {
	case bytes.HasPrefix(file, []byte{0x1f, 0x8b}):
		return refuse(StepFormat, "", "the file is gzipped; push and serve plugins as they are built")
	case bytes.HasPrefix(file, []byte("\x00asm\x0d\x00\x01\x00")):
		return refuse(StepFormat, "", "the file is a WebAssembly component; build a core module")
	case !bytes.HasPrefix(file, []byte("\x00asm\x01\x00\x00\x00")):
		return refuse(StepFormat, "", "the file is not a WebAssembly module; build it with \"bulkhead plugin build\"")
	}
	return nil
}

// missing reports whether a server answered that there is no such file.
func missing(err error) bool {
	var status *statusError
	return errors.As(err, &status) && (status.status == 404 || status.status == 410)
}

// warnUnsigned is loud about an artifact without a signature.
func warnUnsigned(log *slog.Logger, t *task, a *Artifact) {
	if t.Verification.Unsigned {
		log.Warn("a plugin is used without a signature, because of verification.unsigned", "source", a.Source, "digest", a.Digest, "pinned", fmt.Sprint(t.Digest != "" || t.ref.digest != ""))
	}
}
