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
		Short: "Test a policy and make a bundle of it, signed if there is a key",
		Long: `Compile the policy, run its tests, and write an OPA bundle with its files, tests
included: every host runs them again before it publishes it. After an error the
old file is as it was.

A signed bundle carries a serial. A host that has published it takes none with a
lower one any more, or without one, so that an old bundle cannot be passed off as
new. To go back to an earlier policy, build it again. --serial=0 leaves it out. With
--expires-in no host takes it after that time, and one that serves by it says so:
newer ones may be withheld from it.

Exit code 1 if the policy does not compile or a test fails,
2 if key, algorithm or file are at fault.`,
		Example: "  bulkhead policy build ./policies -o site.tar.gz --revision v7 --key ops.key --key-id ops",
		Args:    cobra.ExactArgs(1),
	}
	f.add(c)
	c.Flags().StringVarP(&out, "output", "o", "", "file to write (required)")
	c.Flags().StringVar(&revision, "revision", "", "what the bundle calls this state, such as a commit")
	c.Flags().StringVar(&key, "key", "", "file with the private key, PEM; the secret itself for HS256")
	c.Flags().StringVar(&algorithm, "algorithm", "", "how to sign: RS256, ES256, … (RFC 7518); if empty, as is usual for the key")
	c.Flags().StringVar(&keyID, "key-id", "", "the id by which hosts know the key")
	c.Flags().Uint64Var(&serial, "serial", uint64(time.Now().Unix()), "number of the signed bundle, higher than the last one's; seconds since 1970 if not given")
	c.Flags().Lookup("serial").DefValue = "now"
	c.Flags().DurationVar(&expires, "expires-in", 0, "how long the signed bundle may be taken, such as 720h; 0: always")
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
			return fmt.Errorf("--expires-in %s is less than 0", expires)
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

// checkBuild reports what is wrong with the options of build: above all those
// that would leave a bundle unsigned which was meant to be signed.
func checkBuild(c *cobra.Command, out string, signing *authz.Signing) error {
	if info, err := os.Stat(out); err == nil && info.IsDir() {
		return fmt.Errorf("--output %s is a directory", out)
	}
	if info, err := os.Stat(filepath.Dir(out)); err != nil || !info.IsDir() {
		return fmt.Errorf("--output %s: there is no such directory", out)
	}
	if signing != nil {
		if err := signing.Check(); err != nil {
			return fmt.Errorf("--key: %w", err)
		}
		return nil
	}
	for _, name := range []string{"algorithm", "key-id", "serial", "expires-in"} {
		if c.Flags().Changed(name) {
			return fmt.Errorf("--%s is about signing, which takes --key", name)
		}
	}
	return nil
}
