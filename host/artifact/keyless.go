package artifact

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

const maxTrustRoot = 1 << 20 // bytes

// trustRoot verifies certificates, without a network.
type trustRoot struct {
	material *root.TrustedRoot
	verifier *verify.Verifier
}

// readTrustRoot reads a Sigstore trusted root. What it lists is required of each
// signature: a log entry if it lists logs, a certificate timestamp if it lists
// certificate logs. The time of signing has to be proven in any case, since a
// certificate is valid for minutes: by a log's entry or by a timestamp authority.
func readTrustRoot(path string) (*trustRoot, error) {
	text, err := ReadFile(path, maxTrustRoot)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	material, err := root.NewTrustedRootFromJSON(text)
	if err != nil {
		return nil, fmt.Errorf("%s is not a Sigstore trusted root: %w; make one with \"cosign trusted-root create\"", path, err)
	}
	logs := len(material.RekorLogs()) > 0
	switch {
	case len(material.FulcioCertificateAuthorities()) == 0:
		return nil, fmt.Errorf("%s lists no certificate authority; add one", path)
	case !logs && len(material.TimestampingAuthorities()) == 0:
		return nil, fmt.Errorf("%s lists neither a log nor a timestamp authority, so the time of a signature cannot be verified; add one", path)
	}
	options := []verify.VerifierOption{verify.WithObserverTimestamps(1)}
	if logs {
		options = append(options, verify.WithTransparencyLog(1))
	}
	if len(material.CTLogs()) > 0 {
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	verifier, err := verify.NewVerifier(material, options...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &trustRoot{material, verifier}, nil
}

// certificates verifies signatures of an Identity with issuer and subject.
type certificates struct {
	trust   *trustRoot
	issuer  string
	subject string
	pattern *regexp.Regexp // if subject is empty
}

func (t *trustRoot) identity(id Identity) (*certificates, error) {
	c := &certificates{trust: t, issuer: id.Issuer, subject: id.Subject}
	if t == nil {
		return nil, errors.New("needs verification.trustRoot")
	}
	if id.Issuer == "" || (id.Subject == "") == (id.SubjectRegexp == "") {
		return nil, errors.New("needs issuer, and one of subject and subjectRegexp")
	}
	if id.SubjectRegexp != "" {
		var err error
		if c.pattern, err = wholeRegexp(id.SubjectRegexp); err != nil {
			return nil, fmt.Errorf("subjectRegexp: %w", err)
		}
	}
	return c, nil
}

// matches reports whether a certificate's identity is that of c.
func (c *certificates) matches(s *certificate.Summary) bool {
	subject := s.SubjectAlternativeName
	if subject == "" || s.Issuer != c.issuer {
		return false
	}
	if c.pattern != nil {
		return c.pattern.MatchString(subject)
	}
	return subject == c.subject
}

// verify verifies a signature that was made with a certificate, and returns whose it is.
func (c *certificates) verify(s subject, p proof) (who string, err error) {
	b, signed, err := p.certified(s)
	if err != nil {
		return "", err
	}
	content, err := b.VerificationContent()
	if err != nil {
		return "", fmt.Errorf("has no usable certificate: %w", err)
	}
	leaf := content.Certificate()
	if leaf == nil {
		return "", fmt.Errorf("%w: it was made with a key", errForeign)
	}
	summary, err := certificate.SummarizeCertificate(leaf)
	if err != nil {
		return "", fmt.Errorf("has a certificate without identity: %w", err)
	}
	who = fmt.Sprintf("%s (issuer %s)", summary.SubjectAlternativeName, summary.Issuer)
	if !c.matches(&summary) {
		return "", fmt.Errorf("%w: its certificate is for %.300s", errForeign, who)
	}
	// That the identity matches means nothing until the rest is verified.
	result, err := c.trust.verifier.Verify(b, verify.NewPolicy(verify.WithArtifact(bytes.NewReader(signed)), verify.WithoutIdentitiesUnsafe()))
	if err != nil {
		return "", fmt.Errorf("with the certificate for %.300s does not verify under the trust root: %w", who, err)
	}
	if err := signs(result); err != nil {
		return "", err
	}
	return who, p.about(s)
}

// signPredicate is the type of the statement that cosign makes to sign an artifact.
// Statements of other types, such as provenance, say something else about it.
const signPredicate = "https://sigstore.dev/cosign/sign/v1"

// signs checks that a bundle with a statement is a signature.
func signs(result *verify.VerificationResult) error {
	if result.Statement != nil && result.Statement.PredicateType != signPredicate {
		return fmt.Errorf("is a statement of the type %.200q about the artifact, not a signature", result.Statement.PredicateType)
	}
	return nil
}

// certified returns the bundle of p, and what it signs.
func (p *proof) certified(s subject) (*bundle.Bundle, []byte, error) {
	if p.Bundle != nil {
		b, err := readBundle(p.Bundle)
		return b, s.bytes, err
	}
	if p.Certificate == "" {
		return nil, nil, fmt.Errorf("%w: it was made with a key", errForeign)
	}
	signed, err := p.signed(s)
	if err != nil {
		return nil, nil, err
	}
	b, err := p.assemble(signed)
	return b, signed, err
}

// readBundle reads a Sigstore bundle (sigstore/protobuf-specs). Reading verifies nothing.
func readBundle(text []byte) (*bundle.Bundle, error) {
	if len(text) > maxBundle {
		return nil, fmt.Errorf("is larger than %d bytes", maxBundle)
	}
	b := new(bundle.Bundle)
	if err := b.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("is not a Sigstore bundle: %w", err)
	}
	return b, nil
}

// verifyKeyBundle verifies a Sigstore bundle that was made with a key.
func verifyKeyBundle(key signature.Verifier, s subject, p proof) error {
	b, err := readBundle(p.Bundle)
	if err != nil {
		return err
	}
	if content, err := b.VerificationContent(); err != nil || content.PublicKey() == nil {
		return fmt.Errorf("%w: it was made with a certificate", errForeign)
	}
	material := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(key, time.Time{}, time.Time{}), nil
	})
	verifier, err := verify.NewVerifier(material, verify.WithNoObserverTimestamps())
	if err != nil {
		return err
	}
	result, err := verifier.Verify(b, verify.NewPolicy(verify.WithArtifact(bytes.NewReader(s.bytes)), verify.WithKey()))
	if err != nil {
		return fmt.Errorf("%w, or was changed: %w", errForeign, err)
	}
	return signs(result)
}

// assemble makes a bundle from cosign's annotations.
func (p *proof) assemble(signed []byte) (*bundle.Bundle, error) {
	raw, err := p.raw()
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(p.Certificate))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("has a certificate that is not PEM")
	}
	sum := subjectOf(signed, false).digest
	digest, err := hex.DecodeString(sum.Encoded())
	if err != nil {
		return nil, err
	}
	material := &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_X509CertificateChain{
		X509CertificateChain: &protocommon.X509CertificateChain{Certificates: []*protocommon.X509Certificate{{RawBytes: block.Bytes}}},
	}}
	if p.LogEntry != "" {
		entry, err := readLogEntry([]byte(p.LogEntry))
		if err != nil {
			return nil, err
		}
		material.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	if p.Timestamp != "" {
		var t struct{ SignedRFC3161Timestamp []byte }
		if err := json.Unmarshal([]byte(p.Timestamp), &t); err != nil || len(t.SignedRFC3161Timestamp) == 0 {
			return nil, errors.New("has a timestamp that is not JSON")
		}
		material.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: t.SignedRFC3161Timestamp}},
		}
	}
	b, err := bundle.NewBundle(&protobundle.Bundle{
		MediaType:            "application/vnd.dev.sigstore.bundle+json;version=0.1", // log entries without a proof of inclusion
		VerificationMaterial: material,
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: digest},
			Signature:     raw,
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot be used: %w", err)
	}
	return b, nil
}

// readLogEntry reads the annotation dev.sigstore.cosign/bundle: an entry of Rekor with
// the log's signature.
func readLogEntry(text []byte) (*protorekor.TransparencyLogEntry, error) {
	var e struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           string `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	bad := json.Unmarshal(text, &e)
	body, err := base64.StdEncoding.DecodeString(e.Payload.Body)
	bad = cmp.Or(bad, err)
	id, err := hex.DecodeString(e.Payload.LogID)
	bad = cmp.Or(bad, err)
	var kind struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if bad = cmp.Or(bad, json.Unmarshal(body, &kind)); bad != nil {
		return nil, errors.New("has a log entry that cannot be read")
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex: e.Payload.LogIndex, LogId: &protocommon.LogId{KeyId: id}, IntegratedTime: e.Payload.IntegratedTime,
		KindVersion:       &protorekor.KindVersion{Kind: kind.Kind, Version: kind.APIVersion},
		CanonicalizedBody: body,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: e.SignedEntryTimestamp},
	}, nil
}
