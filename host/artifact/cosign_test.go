package artifact

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// cosign runs the real program, which examples/cosign/build.sh builds, without a network
// beyond this machine.
func (f *fixture) cosign(args ...string) {
	f.t.Helper()
	program := os.Getenv("BULKHEAD_COSIGN")
	if program == "" {
		f.t.Skip("needs cosign: make cosign builds it and runs this test")
	}
	c := exec.CommandContext(f.t.Context(), program, args...)
	c.Dir = f.dir
	c.Env = []string{"COSIGN_PASSWORD=sesame", "HOME=" + f.dir, "PATH=" + os.Getenv("PATH")}
	if out, err := c.CombinedOutput(); err != nil {
		f.t.Fatalf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// alone are options that keep cosign from asking services on the Internet.
var alone = []string{"--use-signing-config=false", "--tlog-upload=false", "--yes"}

// What the real cosign signs with a key that it made is accepted here, in each form that it
// stores, and by no other key.
func TestSignaturesOfTheRealCosignCount(t *testing.T) {
	f := newFixture(t)
	f.cosign("generate-key-pair", "--output-key-prefix", "ops")
	f.key("foreign")
	file := put(t, f.path("echo.wasm"), module(t, "echo", "1.0.0"))
	f.cosign(append([]string{"sign-blob", "--key", "ops.key", "--bundle", file + ".sigstore.json", file}, alone...)...)
	sources := map[string]string{"a file with a bundle": file}
	for name, format := range map[string]string{"a bundle as a referrer": "true", "a tag beside it": "false"} {
		ref := f.push(module(t, "echo", "1.0.0"), "plugins/"+format+":v1")
		f.cosign(append([]string{"sign", "--key", "ops.key", "--new-bundle-format=" + format, f.host + "/" + ref.repository + "@" + ref.digest.String()}, alone...)...)
		sources[name] = ref.String()
	}
	for name, source := range sources {
		if a, err := f.pull(source, f.by("ops")); err != nil || len(a.Identities) != 1 {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
		if _, err := f.pull(source, f.by("foreign")); err == nil || !strings.Contains(err.Error(), "by another signer") {
			t.Errorf("%s, under another key: %v", name, err)
		}
	}
}

// What is signed here the real cosign verifies.
func TestTheRealCosignVerifiesSignaturesOfHere(t *testing.T) {
	f := newFixture(t)
	ref := f.push(module(t, "echo", "1.0.0"), "plugins/echo:v1")
	f.sign(ref, f.key("ops"))
	f.cosign("verify", "--key", "ops.pub", "--insecure-ignore-tlog=true", "--new-bundle-format=false", f.host+"/"+ref.repository+"@"+ref.digest.String())
}
