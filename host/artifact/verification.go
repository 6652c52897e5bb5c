package artifact

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"regexp"

	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// Package is an artifact as the configuration names it.
type Package struct {
	// Source is where the artifact is: a path, https://…, oci://REGISTRY/REPOSITORY:TAG@DIGEST
	// or oci-layout:DIR:TAG.
	Source string `json:"source"`
	// Digest pins the file's content, whatever the source: sha256:… as "plugin inspect" prints it.
	Digest string `json:"digest,omitempty"`
	Access
	Verification Verification `json:"verification,omitzero"`
}

// Verification is the policy on signatures of one name. The zero value accepts a local
// file, which an account with the operator's rights has put there, and nothing else.
type Verification struct {
	AllOf []Identity `json:"allOf,omitempty"` // each of them must have signed
	AnyOf []Identity `json:"anyOf,omitempty"` // one of them must have signed
	// TrustRoot is a file with a Sigstore trusted root
	// (application/vnd.dev.sigstore.trustedroot+json), for identities with a certificate:
	// the certificate authorities, logs and timestamp authorities that count.
	TrustRoot string `json:"trustRoot,omitempty"`
	// Plugin is the name that the manifest of a signed plugin must have; "*" allows any. Default the name under which
	// the plugin is configured: a signature for one plugin does not count for another.
	Plugin string `json:"plugin,omitempty"`
	// Unsigned accepts an artifact without a signature. Each use is logged as a warning.
	Unsigned bool `json:"unsigned,omitempty"`
}

// Identity is who must have signed: the holder of a key, or of a certificate.
type Identity struct {
	// Key is a file with a public key in PEM, as of "cosign generate-key-pair": ECDSA P-256 or ed25519.
	Key string `json:"key,omitempty"`
	// Issuer is the OpenID Connect issuer in the signer's certificate. It is compared whole.
	Issuer string `json:"issuer,omitempty"`
	// Subject is the certificate's subject alternative name, such as an address or a workflow's URL. It is compared whole.
	Subject string `json:"subject,omitempty"`
	// SubjectRegexp matches the whole subject alternative name (RE2), where it changes with each release.
	SubjectRegexp string `json:"subjectRegexp,omitempty"`
}

// Limits of a policy.
const maxIdentities = 32

// Problems calls report for every mistake in p that can be seen without opening
// anything, with its field: ".source", ".verification.anyOf[0].key", or "" for p as a
// whole.
func (p *Package) Problems(report func(field, text string)) {
	bad := reporter(report)
	ref, err := ParseReference(p.Source)
	if err != nil {
		report(".source", err.Error())
		return
	}
	if p.Digest != "" {
		if _, err := checkDigest(p.Digest); err != nil {
			report(".digest", "is "+err.Error()+"; copy it whole")
		}
	}
	p.Access.problems(ref.Remote(), bad)
	p.Verification.problems(ref, ".verification", bad)
}

func reporter(report func(field, text string)) func(is bool, field, format string, args ...any) {
	return func(is bool, field, format string, args ...any) {
		if is {
			report(field, fmt.Sprintf(format, args...))
		}
	}
}

// In makes the paths in p that are relative ones below dir.
func (p *Package) In(dir string) {
	if ref, err := ParseReference(p.Source); err == nil && ref.path != "" {
		p.Source = ref.In(dir).String()
	}
	for _, path := range append(p.Access.Paths(), p.Verification.Paths()...) {
		*path = below(dir, *path)
	}
}

// Paths returns the fields of v that hold paths of files.
func (v *Verification) Paths() []*string {
	list := []*string{&v.TrustRoot}
	for _, of := range [][]Identity{v.AllOf, v.AnyOf} {
		for i := range of {
			list = append(list, &of[i].Key)
		}
	}
	return list
}

// Required reports whether v requires a signature.
func (v *Verification) Required() bool { return len(v.AllOf)+len(v.AnyOf) > 0 }

// Names reports whether v accepts the plugin of this manifest name under the name that
// it is configured with.
func (v *Verification) Names(plugin, configured string) bool {
	return !v.Required() || v.Plugin == anyName || plugin == cmp.Or(v.Plugin, configured)
}

// each visits the identities with their fields below verification.
func (v *Verification) each(visit func(field string, id Identity)) {
	for i, id := range v.AllOf {
		visit(fmt.Sprintf(".allOf[%d]", i), id)
	}
	for i, id := range v.AnyOf {
		visit(fmt.Sprintf(".anyOf[%d]", i), id)
	}
}

func (v *Verification) problems(ref Reference, at string, bad func(is bool, field, format string, args ...any)) {
	bad(!v.Required() && !v.Unsigned && !ref.Local(), at, "lists no identity that must have signed; add anyOf or allOf, or unsigned: true to use it without a signature")
	bad(v.Required() && v.Unsigned, at+".unsigned", "contradicts anyOf and allOf; remove one of them")
	bad(v.Plugin != "" && !v.Required(), at+".plugin", "is for signed plugins; add anyOf or allOf, or remove it")
	bad(v.Plugin != "" && v.Plugin != anyName && !manifest.ValidName(v.Plugin), at+".plugin", "%q is neither lower-case letters, digits and dashes, nor *", v.Plugin)
	bad(len(v.AllOf)+len(v.AnyOf) > maxIdentities, at, "has over %d identities; remove some", maxIdentities)
	certificates, seen := false, map[Identity]bool{}
	v.each(func(field string, id Identity) {
		byCertificate := id.Issuer+id.Subject+id.SubjectRegexp != ""
		certificates = certificates || byCertificate
		bad((id.Key != "") == byCertificate, at+field, "needs either key, or issuer with subject or subjectRegexp")
		bad(byCertificate && id.Issuer == "", at+field+".issuer", "is missing; without it, an account of any provider could have the subject")
		bad(byCertificate && (id.Subject == "") == (id.SubjectRegexp == ""), at+field, "needs one of subject and subjectRegexp")
		_, err := wholeRegexp(id.SubjectRegexp)
		bad(err != nil, at+field+".subjectRegexp", "%v", err)
		bad(seen[id], at+field, "is listed twice; list it once")
		seen[id] = true
	})
	bad(certificates && v.TrustRoot == "", at+".trustRoot", "is missing; certificates are verified with it alone, without a network")
	bad(!certificates && v.TrustRoot != "", at+".trustRoot", "is not used: no identity has issuer and subject")
}

// wholeRegexp compiles an expression that must match a whole text.
func wholeRegexp(text string) (*regexp.Regexp, error) {
	if len(text) > maxReference {
		return nil, fmt.Errorf("is longer than %d bytes", maxReference)
	}
	if _, err := regexp.Compile(text); err != nil { // alone, so that it cannot close the group below
		return nil, err
	}
	return regexp.Compile(`^(?:` + text + `)$`)
}

// signer is an Identity that is ready to verify.
type signer struct {
	field string // of the configuration
	name  string // for people and records
	key   signature.Verifier
	cert  *certificates
}

// policy is a Verification whose files are read.
type policy struct {
	allOf, anyOf []signer
}

// open reads the keys and the trust root of v.
func (v *Verification) open() (*policy, error) {
	var trust *trustRoot
	if v.TrustRoot != "" {
		var err error
		if trust, err = readTrustRoot(v.TrustRoot); err != nil {
			return nil, refuse(StepReference, "verification.trustRoot", "%w", err)
		}
	}
	p, seen := &policy{}, map[string]string{}
	var first error
	add := func(list *[]signer, field string, id Identity) {
		s := signer{field: "verification" + field}
		var err error
		if id.Key != "" {
			s.field += ".key"
			s.key, s.name, err = readPublicKey(id.Key)
		} else if s.cert, err = trust.identity(id); err == nil {
			s.name = id.certificateName()
		}
		if other, twice := seen[s.name]; err == nil && twice { // two signers of allOf are two
			err = fmt.Errorf("is the same key as that of %s; remove one of them", other)
		}
		if err != nil && first == nil {
			first = refuse(StepReference, s.field, "%w", err)
		}
		seen[s.name] = s.field
		*list = append(*list, s)
	}
	for i, id := range v.AllOf {
		add(&p.allOf, fmt.Sprintf(".allOf[%d]", i), id)
	}
	for i, id := range v.AnyOf {
		add(&p.anyOf, fmt.Sprintf(".anyOf[%d]", i), id)
	}
	if first != nil {
		return nil, first
	}
	return p, nil
}

func (id Identity) certificateName() string {
	if id.SubjectRegexp != "" {
		return fmt.Sprintf("a certificate of /%s/ (issuer %s)", id.SubjectRegexp, id.Issuer)
	}
	return fmt.Sprintf("%s (issuer %s)", id.Subject, id.Issuer)
}

// readPublicKey reads a key that signatures are verified with, and its name: the
// SHA-256 of its PKIX form.
func readPublicKey(path string) (signature.Verifier, string, error) {
	text, err := ReadFile(path, maxKeyFile)
	if err != nil {
		return nil, "", fmt.Errorf("cannot be read: %w", err)
	}
	block, _ := pem.Decode(strictyaml.TrimBOM(text))
	switch {
	case block == nil:
		return nil, "", fmt.Errorf("%s is not PEM; use the .pub file of the key pair", path)
	case block.Type != "PUBLIC KEY":
		return nil, "", fmt.Errorf("%s holds %q, not a public key; use the .pub file of the key pair", path, block.Type)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, "", fmt.Errorf("%s is not a public key: %w", path, err)
	}
	if err := usable(key); err != nil {
		return nil, "", fmt.Errorf("%s %w", path, err)
	}
	verifier, err := signature.LoadVerifier(key, crypto.SHA256)
	return verifier, "key " + fingerprint(block.Bytes), err
}

// fingerprint names a public key in its PKIX form.
func fingerprint(pkix []byte) string {
	sum := sha256.Sum256(pkix)
	return "sha256:" + hex.EncodeToString(sum[:])
}

const maxKeyFile = 64 << 10 // bytes

func usable(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return nil
		}
		return fmt.Errorf("is an ECDSA key on %s; use ECDSA P-256 or ed25519", k.Curve.Params().Name)
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("is a key of another type (%T); use ECDSA P-256 or ed25519", key)
}
