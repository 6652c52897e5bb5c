package artifact

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore/pkg/signature"
)

// Bounds on signatures, before anything of them is verified.
const (
	maxSignatures = 64
	maxPayload    = 64 << 10  // bytes of a simple signing payload
	maxBundle     = 512 << 10 // bytes of a Sigstore bundle, or of the annotations of a signature
)

// subject is what a signature has to be about: a manifest in a registry or layout, or a
// file's content.
type subject struct {
	bytes    []byte
	digest   digest.Digest // of bytes
	manifest bool
}

// proof is one signature as it is stored, not parsed yet. It is one of
//   - of a manifest, cosign's simple signing: Payload, Signature, and what proves a certificate,
//   - of a file: Signature,
//   - of either: Bundle.
type proof struct {
	Payload   []byte `json:"payload,omitempty"`
	Signature string `json:"signature,omitempty"` // base64
	// As cosign's annotations have them: PEM, and JSON of a log entry and of a timestamp.
	Certificate string `json:"certificate,omitempty"`
	LogEntry    string `json:"logEntry,omitempty"`
	Timestamp   string `json:"timestamp,omitempty"`
	Bundle      []byte `json:"bundle,omitempty"` // application/vnd.dev.sigstore.bundle…+json
}

// errForeign says that a signature is by another signer than the one that was asked
// about.
var errForeign = errors.New("is by another signer")

// verify checks the signatures of s against p and returns whose they are.
func (p *policy) verify(s subject, proofs []proof) (identities []string, err error) {
	if len(p.allOf)+len(p.anyOf) == 0 {
		return nil, refuse(StepSignature, "verification", "lists no identity that must have signed; add anyOf or allOf")
	}
	if len(proofs) == 0 {
		return nil, refuse(StepSignature, "verification", "%s has no signature; sign it with \"bulkhead plugin sign\" or cosign, or set unsigned: true to use it without", s.digest)
	}
	for _, want := range p.allOf {
		who, why := want.signed(s, proofs)
		if why != nil {
			return nil, refuse(StepSignature, want.field, "%s has no valid signature by %s: %w; let its holder sign it, or correct the policy", s.digest, want.name, why)
		}
		identities = append(identities, who)
	}
	var whys []string
	for _, want := range p.anyOf {
		who, why := want.signed(s, proofs)
		if why == nil {
			return append(identities, who), nil
		}
		whys = append(whys, fmt.Sprintf("%s: %v", want.name, why))
	}
	if len(whys) > 0 {
		return nil, refuse(StepSignature, "verification.anyOf", "%s has no valid signature by any of these (%s); let one of them sign it, or correct the policy", s.digest, strings.Join(whys, "; "))
	}
	return identities, nil
}

// signed reports who of want signed s, or why no proof shows it: the reason that says
// more than that it is another's.
func (want *signer) signed(s subject, proofs []proof) (who string, why error) {
	foreign := 0
	for i, p := range proofs {
		var err error
		who, err = want.check(s, p)
		switch {
		case err == nil:
			return who, nil
		case errors.Is(err, errForeign):
			foreign++
			if why == nil {
				why = fmt.Errorf("signature %d %w", i+1, err)
			}
		default:
			why = fmt.Errorf("signature %d %w", i+1, err)
		}
	}
	if foreign == len(proofs) && foreign > 1 {
		why = fmt.Errorf("all %d signatures are by other signers", foreign)
	}
	return "", why
}

// check verifies one proof. Libraries parse what a registry sent, and a panic in one
// must not end the host.
func (want *signer) check(s subject, p proof) (who string, err error) {
	defer func() {
		if r := recover(); r != nil {
			who, err = "", fmt.Errorf("cannot be read: %v", r)
		}
	}()
	if want.key != nil {
		return want.name, verifyKey(want.key, s, p)
	}
	return want.cert.verify(s, p)
}

// verifyKey verifies a signature that was made with a key.
func verifyKey(key signature.Verifier, s subject, p proof) error {
	switch {
	case p.Bundle != nil:
		return verifyKeyBundle(key, s, p)
	case p.Certificate != "":
		return fmt.Errorf("%w: it was made with a certificate", errForeign)
	}
	signed, err := p.signed(s)
	if err != nil {
		return err
	}
	raw, err := p.raw()
	if err != nil {
		return err
	}
	if key.VerifySignature(bytes.NewReader(raw), bytes.NewReader(signed)) != nil {
		return fmt.Errorf("%w, or was changed", errForeign)
	}
	return p.about(s)
}

// signed is what the signature in p is over.
func (p *proof) signed(s subject) ([]byte, error) {
	switch {
	case len(p.Payload) > 0 && s.manifest:
		return p.Payload, nil
	case len(p.Payload) == 0 && !s.manifest:
		return s.bytes, nil
	}
	return nil, errors.New("is not of the kind that is stored with a manifest or with a file")
}

// raw is the signature itself. Base64 is read strictly.
func (p *proof) raw() ([]byte, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(p.Signature)
	if err != nil || len(raw) == 0 {
		return nil, errors.New("is not base64")
	}
	return raw, nil
}

// about checks what a payload, whose signature is verified, says that it is about.
func (p *proof) about(s subject) error {
	if len(p.Payload) == 0 {
		return nil
	}
	about, err := readPayload(p.Payload)
	switch {
	case err != nil:
		return err
	case about != s.digest:
		return fmt.Errorf("is about %s: it was copied from another artifact", about)
	}
	return nil
}

// payloadType is the type of cosign's payload (cosign, specs/SIGNATURE_SPEC.md).
const payloadType = "cosign container image signature"

// payload is cosign's simple signing payload, in the order of its fields.
type payload struct {
	Critical struct {
		Identity struct {
			DockerReference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			DockerManifestDigest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]any `json:"optional"`
}

// readPayload returns the digest of the manifest that a payload is about.
func readPayload(text []byte) (digest.Digest, error) {
	var p payload
	if err := json.Unmarshal(text, &p); err != nil {
		return "", errors.New("has a payload that is not JSON")
	}
	if p.Critical.Type != payloadType {
		return "", fmt.Errorf("has a payload of the type %.100q, not %q", p.Critical.Type, payloadType)
	}
	d, err := checkDigest(p.Critical.Image.DockerManifestDigest)
	if err != nil {
		return "", errors.New("has a payload without a sha256 digest")
	}
	return d, nil
}

// newPayload is the payload of a signature of the manifest d in a repository.
func newPayload(repository string, d digest.Digest) ([]byte, error) {
	var p payload
	p.Critical.Identity.DockerReference = repository
	p.Critical.Image.DockerManifestDigest = d.String()
	p.Critical.Type = payloadType
	return json.Marshal(p)
}

// readDetached reads FILE.sig: a signature of a file in base64 on each line, as
// "cosign sign-blob" prints one.
func readDetached(text []byte) (proofs []proof, err error) {
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if len(proofs) == maxSignatures {
			return nil, fmt.Errorf("it has over %d signatures; remove some", maxSignatures)
		}
		proofs = append(proofs, proof{Signature: line})
	}
	return proofs, nil
}

// readBundles reads FILE.sigstore.json: Sigstore bundles, one after another.
func readBundles(text []byte) (proofs []proof, err error) {
	for dec := json.NewDecoder(bytes.NewReader(text)); dec.More(); {
		var bundle json.RawMessage
		if err := dec.Decode(&bundle); err != nil {
			return nil, errors.New("it is not JSON; sign the file again")
		}
		if len(proofs) == maxSignatures {
			return nil, fmt.Errorf("it has over %d signatures; remove some", maxSignatures)
		}
		proofs = append(proofs, proof{Bundle: bundle})
	}
	return proofs, nil
}

// subjectOf is content that signatures may be about.
func subjectOf(text []byte, manifest bool) subject {
	return subject{bytes: text, digest: digest.FromBytes(text), manifest: manifest}
}
