package artifact

import (
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

// SigningKey is a private key that artifacts are signed with.
type SigningKey struct {
	signer   signature.Signer
	verifier signature.Verifier
	name     string
}

// Name names the key as Artifact.Identities does.
func (k *SigningKey) Name() string { return k.name }

// NewKeyPair makes an ECDSA P-256 key pair as "cosign generate-key-pair" does: both in
// PEM, the private key encrypted with password.
func NewKeyPair(password []byte) (private, public []byte, err error) {
	return cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), func(bool) ([]byte, error) {
		return append([]byte{}, password...), nil // not nil, which would leave the key in clear
	})
}

// ReadSigningKey reads a private key in PEM, ECDSA P-256 or ed25519: as cosign makes it,
// encrypted with a password, or in clear (PKCS #8, SEC 1). The password is asked for only
// if the key is encrypted.
func ReadSigningKey(path string, password func() ([]byte, error)) (*SigningKey, error) {
	text, err := ReadFile(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(strictyaml.TrimBOM(text), func(bool) ([]byte, error) {
		secret, err := password()
		return append([]byte{}, secret...), err // nil would mean a key in clear
	})
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read as a private key: %w; check the file and its password", path, err)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s is not a key that can sign; use ECDSA P-256 or ed25519", path)
	}
	public := signer.Public()
	if err := usable(public); err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	pkix, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	k := &SigningKey{name: "key " + fingerprint(pkix)}
	if k.signer, err = signature.LoadSigner(private, crypto.SHA256); err == nil {
		k.verifier, err = signature.LoadVerifier(public, crypto.SHA256)
	}
	return k, err
}

// sign signs text and returns the signature in base64.
func (k *SigningKey) sign(text []byte) (string, error) {
	raw, err := k.signer.SignMessage(bytes.NewReader(text))
	return base64.StdEncoding.EncodeToString(raw), err
}

// Sign signs what ref names with a key: a manifest in a registry or layout as cosign
// does, below its tag and as a referrer; a file in FILE.sig beside it. Other signatures
// stay. It returns ref pinned, and reports whether the key had signed before: then
// nothing is written. Errors are Refusals.
func (c *Client) Sign(ctx context.Context, ref Reference, a Access, k *SigningKey) (signed Reference, before bool, err error) {
	switch {
	case ref.Local():
		before, err = signFile(ref.path, k)
		return ref, before, about(ref, StepSignature, err)
	case !ref.Registered():
		return ref, false, about(ref, StepReference, refuse(StepReference, "", "cannot be written to; sign the file and put FILE.sig beside it on the server"))
	}
	p, done, err := openPlace(ref, a, c.log())
	if err != nil {
		return ref, false, about(ref, StepFetch, err)
	}
	defer done()
	top, err := resolve(ctx, p, ref)
	if err != nil {
		return ref, false, about(ref, StepFetch, err)
	}
	text, err := fetch(ctx, p, top, maxCatalog, "its manifest", nil)
	if err != nil {
		return ref, false, about(ref, StepFetch, err)
	}
	proofs, err := signatures(ctx, p, top)
	if err != nil {
		return ref, false, about(ref, StepFetch, err)
	}
	s := signer{name: k.name, key: k.verifier}
	if len(proofs) > 0 {
		if _, why := s.signed(subjectOf(text, true), proofs); why == nil {
			return ref.at(top.Digest), true, nil
		}
	}
	if len(proofs) == maxSignatures {
		return ref, false, about(ref, StepSignature, refuse(StepSignature, "", "it has %d signatures, the most that are read; remove some", maxSignatures))
	}
	err = c.signManifest(ctx, p, ref, a, top, k)
	return ref.at(top.Digest), false, pushError(ref, err)
}

func (c *Client) signManifest(ctx context.Context, p place, ref Reference, a Access, top ocispec.Descriptor, k *SigningKey) error {
	repository := ref.registry + "/" + ref.repository
	if ref.scheme == schemeLayout {
		repository = "" // a path says nothing elsewhere
	}
	text, err := newPayload(repository, top.Digest)
	if err != nil {
		return err
	}
	sig, err := k.sign(text)
	if err != nil {
		return err
	}
	writable := ref
	writable.tag, writable.digest = signatureTag(top.Digest), ""
	t, _, done, err := openTarget(writable, a, c)
	if err != nil {
		return err
	}
	defer done()
	layer := content.NewDescriptorFromBytes(typeSimpleSigning, text)
	if err := putBlob(ctx, t, layer, text); err != nil {
		return err
	}
	layer.Annotations = map[string]string{annotationSignature: sig}
	if err := tagSignature(ctx, p, t, top, layer); err != nil {
		return err
	}
	return referSignature(ctx, t, top, layer)
}

// tagSignature adds a signature to the manifest below cosign's tag. Its config is that
// of an image, which cosign's own library expects.
func tagSignature(ctx context.Context, p place, t target, top, layer ocispec.Descriptor) error {
	layers := []ocispec.Descriptor{layer}
	switch tagged, err := p.Resolve(ctx, signatureTag(top.Digest)); {
	case errors.Is(err, errdef.ErrNotFound):
	case err != nil:
		return err
	default:
		text, err := fetch(ctx, p, tagged, maxManifest, "a manifest of signatures", nil)
		if err != nil {
			return err
		}
		m, err := readManifest(text)
		if err != nil {
			return err
		}
		layers = append(m.Layers, layer)
	}
	image := ocispec.Image{RootFS: ocispec.RootFS{Type: "layers"}}
	for _, l := range layers {
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, l.Digest)
	}
	config, err := json.Marshal(image)
	if err != nil {
		return err
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: content.NewDescriptorFromBytes(ocispec.MediaTypeImageConfig, config), Layers: layers,
	}
	return putWithConfig(ctx, t, m, config, signatureTag(top.Digest))
}

// referSignature adds a manifest that refers to the signed one (image-spec v1.1,
// "subject"), as cosign does with referrers.
func referSignature(ctx context.Context, t target, top, layer ocispec.Descriptor) error {
	config := []byte("{}")
	subject := ocispec.Descriptor{MediaType: top.MediaType, Digest: top.Digest, Size: top.Size}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: typeSignature,
		Config: content.NewDescriptorFromBytes(typeSignature, config), Layers: []ocispec.Descriptor{layer}, Subject: &subject,
	}
	return putWithConfig(ctx, t, m, config, "")
}

func putWithConfig(ctx context.Context, t target, m ocispec.Manifest, config []byte, tag string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := putBlob(ctx, t, m.Config, config); err != nil {
		return err
	}
	desc := content.NewDescriptorFromBytes(m.MediaType, text)
	desc.ArtifactType = m.ArtifactType
	return putManifest(ctx, t, desc, text, tag)
}

// signFile adds a signature to FILE.sig.
func signFile(path string, k *SigningKey) (before bool, err error) {
	text, err := ReadFile(path, MaxPlugin)
	if err != nil {
		return false, refuse(StepFetch, "", "%w; name the file to sign", err)
	}
	old, err := ReadFile(path+".sig", maxBundle)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, refuse(StepFetch, "", "%w; correct or remove it", err)
	}
	proofs, err := readDetached(old)
	if err != nil {
		return false, refuse(StepSignature, "", "%s.sig: %w", path, err)
	}
	s := signer{name: k.name, key: k.verifier}
	if len(proofs) > 0 {
		if _, why := s.signed(subjectOf(text, false), proofs); why == nil {
			return true, nil
		}
	}
	sig, err := k.sign(text)
	if err != nil {
		return false, err
	}
	var out bytes.Buffer
	for _, p := range proofs {
		fmt.Fprintln(&out, p.Signature)
	}
	fmt.Fprintln(&out, sig)
	return false, replace(path+".sig", out.Bytes())
}
