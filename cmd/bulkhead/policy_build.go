package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/spf13/cobra"
)

func policyBuildCommand() *cobra.Command {
	var f policyFlags
	var out, revision, key, algorithm, keyID string
	var serial uint64
	var expires time.Duration
	c := &cobra.Command{
		Use:   "build POLICY -o FILE",
		Short: "Test a policy and pack it into a bundle, signed if a key is given",
		Long: `Compile the policy, run its tests, and write an OPA bundle with its files. The
bundle includes the tests, because every host runs them again before it publishes
the policy. After an error the old file is unchanged.

A signed bundle has a serial. A host that has published one refuses bundles with a
lower serial or with none, so that an old bundle cannot be replayed as new. To go
back to an earlier policy, build it again. --serial=0 omits the serial.

With --expires-in, hosts refuse the bundle after that time. A host that already uses
it keeps it and reports the expiry, because newer bundles may be withheld from it.

Exit code 1 if the policy does not compile or a test fails, 2 if the key, the
algorithm or the file is invalid.`,
		Example: "  bulkhead policy build ./policies -o site.tar.gz --revision v7 --key ops.key --key-id ops",
		Args:    cobra.ExactArgs(1),
	}
	f.add(c)
	c.Flags().StringVarP(&out, "output", "o", "", "file to write (required)")
	c.Flags().StringVar(&revision, "revision", "", "name of this version of the policy, such as a commit")
	c.Flags().StringVar(&key, "key", "", "file with the private key in PEM; for HS256, with the secret itself")
	c.Flags().StringVar(&algorithm, "algorithm", "", "signature algorithm: RS256, ES256, … (RFC 7518); if empty, the usual one for the key")
	c.Flags().StringVar(&keyID, "key-id", "", "id of the key in the configuration of hosts")
	c.Flags().Uint64Var(&serial, "serial", uint64(time.Now().Unix()), "serial of the signed bundle, higher than the last one's; by default the seconds since 1970")
	c.Flags().Lookup("serial").DefValue = "now"
	c.Flags().DurationVar(&expires, "expires-in", 0, "how long hosts accept the signed bundle, such as 720h; 0: without limit")
	_ = c.MarkFlagRequired("output")
	c.RunE = func(c *cobra.Command, args []string) error {
		var signing *authz.Signing
		if c.Flags().Changed("key") {
			signing = &authz.Signing{KeyFile: key, Algorithm: algorithm, KeyID: keyID, Stamp: authz.Stamp{Serial: serial}}
			if expires != 0 {
				signing.Stamp.Expires = time.Now().Add(expires)
			}
		}
		if expires < 0 {
			return fmt.Errorf("--expires-in %s must not be negative", expires)
		}
		if err := checkBuild(c, out, signing); err != nil {
			return err
		}
		p, err := f.open(c.Context(), args)
		if err != nil {
			return err
		}
		report, err := policytool.Test(c.Context(), p, policytool.TestOptions{})
		if err != nil {
			return &runError{err}
		}
		if report.Failed > 0 {
			printTests(c.ErrOrStderr(), report, false)
			return &runError{fmt.Errorf("%d of %d tests failed; nothing was written", report.Failed, len(report.Results))}
		}
		var packed bytes.Buffer
		if err := p.Pack(&packed, revision, signing); err != nil {
			return &runError{err}
		}
		if err := replaceFile(out, packed.Bytes()); err != nil {
			return &runError{err}
		}
		if f.json {
			return printJSON(c.OutOrStdout(), map[string]any{"file": out, "digest": p.Digest(), "revision": revision, "signed": signing != nil, "serial": stampOf(signing).Serial, "tests": len(report.Results)})
		}
		signed := "not signed"
		if signing != nil {
			signed = fmt.Sprintf("signed by %s (%s)", cmp.Or(keyID, "a key without id"), signing.Algorithm)
			if serial > 0 {
				signed += fmt.Sprintf(", serial %d", serial)
			}
		}
		fmt.Fprintf(c.OutOrStdout(), "%s  %s  %s\n", out, p.Digest(), signed)
		return nil
	}
	return c
}

func stampOf(s *authz.Signing) authz.Stamp {
	if s == nil {
		return authz.Stamp{}
	}
	return s.Stamp
}

// checkBuild checks the options of build. In particular, it refuses options of
// signing without a key, which would leave the bundle unsigned.
func checkBuild(c *cobra.Command, out string, signing *authz.Signing) error {
	if info, err := os.Stat(out); err == nil && info.IsDir() {
		return fmt.Errorf("--output %s is a directory", out)
	}
	if info, err := os.Stat(filepath.Dir(out)); err != nil || !info.IsDir() {
		return fmt.Errorf("--output %s: its directory does not exist", out)
	}
	if signing != nil {
		if err := signing.Check(); err != nil {
			return fmt.Errorf("--key: %w", err)
		}
		return nil
	}
	for _, name := range []string{"algorithm", "key-id", "serial", "expires-in"} {
		if c.Flags().Changed(name) {
			return fmt.Errorf("--%s needs --key: it applies to signed bundles only", name)
		}
	}
	return nil
}
