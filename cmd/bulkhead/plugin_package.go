package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/spf13/cobra"
)

// references is the part of --help that the commands about packages share.
const references = `
REF is a path or file:PATH, https://HOST/PATH, oci://REGISTRY/REPOSITORY:TAG@DIGEST or
oci-layout:DIR:TAG (a directory that needs no network). --user, --token-file and
--ca-file are for its server and are sent to no other.`

const packageExits = `
Exit codes: 0 done, 1 refused or failed, 2 bad usage.`

// packageFlags are how a server is asked, and what has to have signed.
type packageFlags struct {
	access       artifact.Access
	json         bool
	digest       string
	verification artifact.Verification
	keys         []string
	subject      string
	pattern      string
	issuer       string
	all          bool
}

func (f *packageFlags) addAccess(c *cobra.Command) {
	c.Flags().StringVar(&f.access.TokenFile, "token-file", "", "file with the bearer token, or with --user its password")
	c.Flags().StringVar(&f.access.User, "user", "", "user for basic authentication")
	c.Flags().StringVar(&f.access.CAFile, "ca-file", "", "certificate authorities, PEM (default: the system's)")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
}

func (f *packageFlags) addVerification(c *cobra.Command) {
	c.Flags().StringVar(&f.digest, "digest", "", "sha256:… that the file must have")
	c.Flags().StringArrayVar(&f.keys, "key", nil, "public key that must have signed, PEM; repeat for any of several")
	c.Flags().BoolVar(&f.all, "all", false, "every --key and the certificate must have signed, not any")
	c.Flags().StringVar(&f.subject, "certificate-identity", "", "subject of the certificate that must have signed")
	c.Flags().StringVar(&f.pattern, "certificate-identity-regexp", "", "the same as a regular expression for the whole subject")
	c.Flags().StringVar(&f.issuer, "certificate-oidc-issuer", "", "issuer of that certificate's identity")
	c.Flags().StringVar(&f.verification.TrustRoot, "trust-root", "", "Sigstore trusted root, JSON, for certificates")
}

// pkg is the package that the flags and a reference describe.
func (f *packageFlags) pkg(source string) artifact.Package {
	p := artifact.Package{Source: source, Digest: f.digest, Access: f.access, Verification: f.verification}
	var who []artifact.Identity
	for _, k := range f.keys {
		who = append(who, artifact.Identity{Key: k})
	}
	if f.subject+f.pattern+f.issuer != "" {
		who = append(who, artifact.Identity{Issuer: f.issuer, Subject: f.subject, SubjectRegexp: f.pattern})
	}
	if f.all {
		p.Verification.AllOf = who
	} else {
		p.Verification.AnyOf = who
	}
	return p
}

// asked reports whether any signature is asked for.
func (f *packageFlags) asked() bool {
	return len(f.keys) > 0 || f.subject+f.pattern+f.issuer+f.verification.TrustRoot != "" || f.all
}

// unverified accepts a package without a signature if none is asked for, and says so.
func (f *packageFlags) unverified(c *cobra.Command, p *artifact.Package) {
	if !f.asked() {
		p.Verification.Unsigned = true
		fmt.Fprintln(c.ErrOrStderr(), "warning: no signature is verified; name who must have signed with --key or --certificate-identity")
	}
}

// accessTo is the access for a second reference: the same only if it has the same server.
func (f *packageFlags) accessTo(second, first artifact.Reference) artifact.Access {
	if second.SameServer(first) {
		return f.access
	}
	return artifact.Access{}
}

// packageError tells usage from failure.
func packageError(err error) error {
	if err == nil {
		return nil
	}
	if r, ok := errors.AsType[*artifact.Refusal](err); ok && r.Step == artifact.StepReference {
		return err
	}
	return &runError{err}
}

// packageClient reports long transfers on stderr, each quarter of them.
func packageClient(c *cobra.Command) *artifact.Client {
	quarter := int64(-1)
	return &artifact.Client{Log: slog.New(slog.DiscardHandler), Progress: func(what string, done, total int64) {
		const long = 1 << 20
		if total < long {
			return
		}
		if q := done * 4 / total; q != quarter {
			quarter = q
			fmt.Fprintf(c.ErrOrStderr(), "%s: %d%% of %d MiB\n", what, done*100/total, total>>20)
		}
	}}
}

// password is that of a private key: from a file, or from COSIGN_PASSWORD.
func password(file string) ([]byte, error) {
	if file == "" {
		if p, ok := os.LookupEnv("COSIGN_PASSWORD"); ok {
			return []byte(p), nil
		}
		return nil, errors.New("the key needs a password; set COSIGN_PASSWORD or --password-file (an empty password is possible)")
	}
	text, err := artifact.ReadFile(file, 64<<10)
	if err != nil {
		return nil, fmt.Errorf("--password-file: %w", err)
	}
	return []byte(strings.TrimRight(string(text), "\r\n")), nil
}

func printIdentities(w io.Writer, digest string, identities []string) {
	if len(identities) == 0 {
		fmt.Fprintf(w, "%s  not signed\n", digest)
	}
	for _, who := range identities {
		fmt.Fprintf(w, "%s  signed by %s\n", digest, who)
	}
}
