package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/keys"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

// Bundle names an OPA bundle (openpolicyagent.org/docs/management-bundles): a
// gzipped tar of Rego and data. Exactly one of file, url and oci is set.
type Bundle struct {
	artifact.Location
	// Keys verify the bundle's signature. Without keys, url and oci are refused, unless
	// unsigned is set.
	Keys  []Key  `json:"keys,omitempty"`
	Scope string `json:"scope,omitempty"` // the scope that the signature must have
	// MinSerial is the lowest serial that a signed bundle may have. It protects a host
	// that has not published a bundle yet from an old one. Requires keys.
	MinSerial uint64 `json:"minSerial,omitempty"`
	Unsigned  bool   `json:"unsigned,omitempty"` // accept a bundle without a signature
}

// Key is a public key that verifies bundles.
type Key struct {
	// ID is the key's name in signatures. It is ignored if keys has only one key.
	ID        string `json:"id"`
	File      string `json:"file"`                // PEM; the secret itself for HS256, HS384, HS512
	Algorithm string `json:"algorithm,omitempty"` // RFC 7518: RS256, ES256, …; if empty, the usual one for the key
}

// Limits on a bundle, in bytes: packed, unpacked, and one file in it.
const (
	maxPacked   = 16 << 20
	maxUnpacked = 64 << 20
	maxMember   = 16 << 20
)

// verification reads the keys of b; nil if signatures are not verified.
func (b *Bundle) verification() (*bundle.VerificationConfig, error) {
	if len(b.Keys) == 0 {
		return nil, nil
	}
	byID := map[string]*keys.Config{}
	for _, k := range b.Keys {
		text, err := os.ReadFile(k.File)
		if err != nil {
			return nil, fmt.Errorf("bundle.keys: %s: %w", k.ID, err)
		}
		if trimmed := strictyaml.TrimBOM(text); len(trimmed) < len(text) {
			if block, _ := pem.Decode(trimmed); block != nil { // a secret is used unchanged
				text = trimmed
			}
		}
		how, err := algorithm(text, false, k.Algorithm)
		if err != nil {
			return nil, fmt.Errorf("bundle.keys: %s: %s: %w", k.ID, k.File, err)
		}
		byID[k.ID] = &keys.Config{Key: string(text), Algorithm: how}
	}
	var only string // a single key verifies, whatever key the signature names
	if len(b.Keys) == 1 {
		only = b.Keys[0].ID
	}
	return bundle.NewVerificationConfig(byID, only, b.Scope, nil), nil
}

// unpack reads a bundle. If v is nil, its signature is ignored. Errors begin with origin.
func unpack(packed []byte, origin string, v *bundle.VerificationConfig) (_ *Content, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", origin, err)
		}
	}()
	signed, err := checkUnpacked(packed)
	switch {
	case err != nil:
		return nil, err
	case v != nil && !signed:
		return nil, errors.New("it is not signed, but bundle.keys requires a signature")
	}
	b, err := bundle.NewCustomReader(bundle.NewTarballLoaderWithBaseURL(bytes.NewReader(packed), "")).
		WithBundleVerificationConfig(v).WithSkipBundleVerification(v == nil).
		WithSizeLimitBytes(maxMember).WithRegoVersion(ast.RegoV1).Read()
	switch {
	case err != nil:
		return nil, err
	case b.Type() == bundle.DeltaBundleType:
		return nil, errors.New("it is a delta bundle; only complete bundles are supported")
	case len(b.WasmModules)+len(b.PlanModules) > 0:
		return nil, errors.New("it contains compiled policy; only Rego is supported")
	case len(b.Modules) == 0 && len(b.Data) == 0:
		return nil, errors.New("it is empty")
	}
	modules := make([]Module, len(b.Modules))
	for i, m := range b.Modules {
		modules[i] = Module{m.RelativePath, m.Raw}
	}
	c := newContent(origin, b.Manifest.Revision, modules, b.Data)
	if v == nil { // the stamp of an unsigned bundle does not count
		return c, nil
	}
	if c.Stamp, err = readStamp(b.Manifest.Metadata); err == nil {
		err = c.claims().Fresh(time.Now())
	}
	return c, err
}

// open opens the source of b.
func (b *Bundle) open(keep string, log *slog.Logger) (Source, error) {
	if b.Remote() {
		if _, err := b.verification(); err != nil { // reports an error in keys at once
			return nil, err
		}
	}
	return artifact.Open(b.Location, artifact.Format[*Content]{
		Field: "bundle", Limit: maxPacked, Verify: b.verify, Signed: len(b.Keys) > 0,
	}, keep, log)
}

// verify unpacks a bundle and verifies it with the present keys.
func (b *Bundle) verify(packed []byte, origin string) (*Content, artifact.Claims, error) {
	v, err := b.verification()
	if err != nil {
		return nil, artifact.Claims{}, err
	}
	c, err := unpack(packed, origin, v)
	if err == nil && c.Stamp.Serial < b.MinSerial {
		err = fmt.Errorf("%s: its serial %d is below bundle.minSerial, %d", origin, c.Stamp.Serial, b.MinSerial)
	}
	if err != nil {
		return nil, artifact.Claims{}, err
	}
	return c, c.claims(), nil
}

func (c *Content) claims() artifact.Claims {
	return artifact.Claims{Digest: c.Digest, Serial: c.Stamp.Serial, Expires: c.Stamp.Expires}
}

// checkUnpacked bounds the memory of OPA's reader, which bounds single files only: it
// allocates the size in a file's header before it verifies anything, and that size may be
// wrong. checkUnpacked reports whether the bundle has signatures.
func checkUnpacked(packed []byte) (signed bool, err error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return false, fmt.Errorf("it is not a gzipped tar: %w", err)
	}
	in := &io.LimitedReader{R: z, N: maxUnpacked}
	files, left := tar.NewReader(in), int64(maxUnpacked)
	for {
		h, err := files.Next()
		switch {
		case err == io.EOF:
			return signed, nil
		case err == nil && h.Size > left, err != nil && in.N == 0:
			return false, fmt.Errorf("unpacked it is larger than %d MiB", maxUnpacked>>20)
		case err != nil:
			return false, fmt.Errorf("it is not a gzipped tar: %w", err)
		}
		left -= h.Size
		signed = signed || bundle.IsSignaturesFile(h.Name)
	}
}
