package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/spf13/cobra"
)

func keygenCommand() *cobra.Command {
	var prefix, passwordFile string
	c := &cobra.Command{
		Use:   "keygen",
		Short: "Make a key pair for signing plugins",
		Long: `Make an ECDSA P-256 key pair in cosign's format: PREFIX.key, encrypted with a
password, and PREFIX.pub for those who verify. The password is in COSIGN_PASSWORD
or --password-file. Files that exist are not replaced. Keys of
"cosign generate-key-pair" can be used as well.
` + packageExits,
		Example: "  COSIGN_PASSWORD=… bulkhead plugin keygen --output ops",
		Args:    cobra.NoArgs,
	}
	c.Flags().StringVarP(&prefix, "output", "o", "bulkhead", "beginning of the two files' names")
	c.Flags().StringVar(&passwordFile, "password-file", "", "file with the password (default: COSIGN_PASSWORD)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		secret, err := password(passwordFile)
		if err != nil {
			return err
		}
		private, public, err := artifact.NewKeyPair(secret)
		if err != nil {
			return &runError{err}
		}
		for _, file := range []struct {
			name string
			text []byte
			mode os.FileMode
		}{{prefix + ".key", private, 0o600}, {prefix + ".pub", public, 0o644}} {
			if err := writeNew(file.name, file.text, file.mode); err != nil {
				return &runError{err}
			}
			fmt.Fprintln(c.OutOrStdout(), file.name)
		}
		return nil
	}
	return c
}

// writeNew writes a file that does not exist yet.
func writeNew(name string, text []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

func signCommand() *cobra.Command {
	c := signing("sign REF --key KEY", "Sign a plugin with a key", `Sign a plugin with a private key. In a registry or layout the manifest is signed, and
the signature is stored as cosign stores it: below the tag sha256-….sig and as a
referrer. A local file is signed in FILE.sig beside it. Other signatures stay; a
key that has signed before does not sign again.

The key is ECDSA P-256 or ed25519, as "bulkhead plugin keygen" or cosign makes it.
Its password is in COSIGN_PASSWORD or --password-file; a key in clear needs none.`)
	c.Example = "  bulkhead plugin sign oci://registry.example.com/plugins/hello:v1 --key ops.key\n  bulkhead plugin sign hello.wasm --key ops.key --password-file password"
	return c
}

// signing is a command that signs what its argument names.
func signing(use, short, long string) *cobra.Command {
	var f packageFlags
	var key, passwordFile string
	c := &cobra.Command{Use: use, Short: short, Long: long + "\n" + references + packageExits, Args: cobra.ExactArgs(1)}
	f.addAccess(c)
	c.Flags().StringVar(&key, "key", "", "private key, PEM (required)")
	c.Flags().StringVar(&passwordFile, "password-file", "", "file with the key's password (default: COSIGN_PASSWORD)")
	_ = c.MarkFlagRequired("key")
	c.RunE = func(c *cobra.Command, args []string) error {
		ref, err := artifact.ParseReference(args[0])
		if err != nil {
			return err
		}
		k, err := artifact.ReadSigningKey(key, func() ([]byte, error) { return password(passwordFile) })
		if err != nil {
			return fmt.Errorf("--key: %w", err)
		}
		signed, before, err := packageClient(c).Sign(c.Context(), ref, f.access, k)
		if err != nil {
			return packageError(err)
		}
		if f.json {
			return printJSON(c.OutOrStdout(), map[string]any{"reference": signed.String(), "signer": k.Name(), "before": before})
		}
		what := "signed by"
		if before {
			what = "was signed before by"
		}
		fmt.Fprintf(c.OutOrStdout(), "%s  %s %s\n", signed, what, k.Name())
		return nil
	}
	return c
}

func verifyCommand() *cobra.Command {
	var f packageFlags
	c := &cobra.Command{
		Use:   "verify REF",
		Short: "Verify a plugin's digest and signatures",
		Long: `Fetch a plugin and verify it as the host would: digest, then signatures, then
format. Name who must have signed with --key, or with --certificate-identity,
--certificate-oidc-issuer and --trust-root: certificates are verified offline, and the
log entries and timestamps that the trust root lists are required.
` + references + `

Exit codes: 0 verified, 1 refused or failed, 2 bad usage.`,
		Example: "  bulkhead plugin verify oci://registry.example.com/plugins/hello:v1 --key ops.pub\n" +
			"  bulkhead plugin verify hello.wasm --trust-root trusted_root.json --certificate-identity ci@example.com --certificate-oidc-issuer https://accounts.example.com",
		Args: cobra.ExactArgs(1),
	}
	f.addAccess(c)
	f.addVerification(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if !f.asked() {
			return errors.New("name who must have signed: --key, or --certificate-identity with --certificate-oidc-issuer and --trust-root")
		}
		a, err := packageClient(c).Pull(c.Context(), f.pkg(args[0]))
		if err != nil {
			return packageError(err)
		}
		if f.json {
			return printJSON(c.OutOrStdout(), map[string]any{"reference": a.Reference.Origin(), "digest": a.Digest, "identities": a.Identities})
		}
		printIdentities(c.OutOrStdout(), a.Digest, a.Identities)
		return nil
	}
	return c
}
