package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/capability/all"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

// TestMain lets the test binary stand for the program, so that exit codes and
// streams are the real ones.
func TestMain(m *testing.M) {
	sandbox.CompileChild()
	all.Child()
	policytool.Child()
	if os.Getenv("BULKHEAD_TEST_AS_PROGRAM") == "1" {
		for _, name := range []string{"TEST_AS_PROGRAM", "DEVCLUSTER", "AZUREFAKE", "FLUXSOURCE", "COSIGN", "SDKS", "SOAK", "SCREENSHOTS"} { // for tests, not for the host
			os.Unsetenv("BULKHEAD_" + name)
		}
		main()
		return
	}
	os.Exit(m.Run())
}

func bulkhead(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "BULKHEAD_TEST_AS_PROGRAM=1")
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), code
}

func TestMistakesAreOneLineAndExitCode2(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := "auth: {dev: {}}\ndirectory: {files: .}\n"
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"serve", "-c", filepath.Join(dir, "absent.yaml")}, "no such file", 2},
		{[]string{"serve", "-c", file("a.yaml", good+"foo: 1\n")}, `unknown field "foo"`, 2},
		{[]string{"serve", "-c", file("b.yaml", good+"listen: nowhere\n")}, "listen:", 2},
		{[]string{"serve", "-c", file("c.yaml", "auth: {dev: {}}\ndirectory: {files: ./absent}\nlisten: 127.0.0.1:0\n")}, "directory.files", 2},
		{[]string{"config", "check", "-c", file("d.yaml", "a: [")}, "d.yaml", 2},
		{[]string{"serve", "--confg", "x"}, "--confg", 2},
		{[]string{"bogus"}, "bogus", 2},
		{[]string{"plugin", "bogus"}, "bogus", 2},
		{[]string{"plugin", "build", dir, "-o", filepath.Join(dir, "x.wasm")}, "manifest.json", 1},
	} {
		_, stderr, code := bulkhead(t, c.args...)
		line := strings.TrimSuffix(stderr, "\n")
		if code != c.code || !strings.Contains(line, c.want) || strings.Contains(line, "\n") || !strings.HasPrefix(line, "bulkhead: ") {
			t.Errorf("%v: exit code %d, %q; want %d and %q on one line", c.args, code, stderr, c.code, c.want)
		}
	}
	if stdout, stderr, code := bulkhead(t, "config", "check", "-c", file("e.yaml", good)); code != 0 || !strings.Contains(stdout, "well-formed") {
		t.Errorf("a good configuration: %d %q %q", code, stdout, stderr)
	}
}

func TestInspectSaysWhatAPluginIsAndWhyItIsRefused(t *testing.T) {
	gitops := packtest.Build(t, "plugins/gitops")
	stdout, stderr, code := bulkhead(t, "plugin", "inspect", gitops)
	for _, want := range []string{"gitops 0.1.0", "POST /helm-upgrade (unary), action helm.upgrade", "required:", "restored after each call"} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("exit code %d, %q lacks %q (%s)", code, stdout, want, stderr)
		}
	}
	whole, err := os.ReadFile(gitops)
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken.wasm")
	if err := os.WriteFile(broken, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, _, code = bulkhead(t, "plugin", "inspect", "--json", broken)
	var i struct {
		Digest  string
		Refused []string
	}
	if err := json.Unmarshal([]byte(stdout), &i); err != nil || code != 1 || !strings.HasPrefix(i.Digest, "sha256:") || len(i.Refused) == 0 {
		t.Errorf("exit code %d, %v: %s", code, err, stdout)
	}
	if _, _, code := bulkhead(t, "plugin", "inspect", broken+".absent"); code != 2 {
		t.Errorf("an absent file: exit code %d", code)
	}
}

// The limits and grants of a configuration count, and what is refused for them
// names the key.
func TestInspectTakesAConfiguration(t *testing.T) {
	gitops := packtest.Build(t, "plugins/gitops")
	file := filepath.Join(t.TempDir(), "bulkhead.yaml")
	text := "auth: {dev: {}}\ndirectory: {files: .}\n" +
		"limits: {plugins: {memoryMiB: 16, module: {functions: 100}}}\nplugins:\n" +
		"- {name: small, source: \"" + gitops + "\", grants: {helm: [{clusters: [dev], namespaces: [shop], actions: [list]}]}}\n" +
		"- {name: bare, source: ./other.wasm, limits: {fuel: 7000, module: {functions: 50000}}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{nil, 0, []string{"64 MiB of memory per instance", "no limit on fuel", " of 60000", "bodyBytes "}},
		{[]string{"-c", file}, 1, []string{"16 MiB of memory per instance", "limits.module.functions"}},
		{[]string{"-c", file, "--plugin", "bare"}, 1, []string{"7000 fuel per call", " of 50000", `needs capability "helm"`}},
		{[]string{"-c", file, "--plugin", "absent"}, 2, nil},
		{[]string{"--plugin", "bare"}, 2, nil},
	} {
		stdout, stderr, code := bulkhead(t, append([]string{"plugin", "inspect", gitops}, c.args...)...)
		if code != c.code {
			t.Errorf("%v: exit code %d: %s", c.args, code, stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(stdout, want) {
				t.Errorf("%v: %s lacks %q", c.args, stdout, want)
			}
		}
	}
}

func TestPolicyToolsSayWhatTheyFindAndExitSo(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file("good/site.rego", "package bulkhead.authz\n\ndecision := data.bulkhead.default.decision\n\ntest_x if decision.allow == false with input as {}\n")
	file("bad/site.rego", "package bulkhead.authz\n\ndecision := data.bulkhead.default.decision\n\ntest_x if decision.allow == true with input as {}\n")
	file("broken/site.rego", "package bulkhead.authz\n\ndecision := x\n")
	reads := "package bulkhead.authz\n\ndecision := data.bulkhead.default.decision if input.reason != \"x\"\n\nmore if input.reason == \"y\"\n\ntest_more if not more with input.reason as \"\"\n"
	file("reads/site.rego", reads)
	file("divides/site.rego", "package bulkhead.authz\n\ndecision := data.bulkhead.default.decision\n\ntest_x if 1 / 0 == 1\n\ntodo_test_y if true\n")
	file("checked/site.rego", "# METADATA\n# schemas:\n#   - input: schema.input\n"+reads)
	file("late/site.rego", "package bulkhead.authz\n\ndecision := {\"allow\": false, \"reason\": {\"code\": \"late\"}} if {\n\ttime.now_ns() > 0\n} else := data.bulkhead.default.decision\n")
	file("seven/site.rego", "package bulkhead.authz\n\ndecision := 7\n")
	file("people/p.yaml", "apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: vic}\nspec: {id: vic@example.com, roles: [viewer]}\n"+
		"---\napiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: ada}\nspec: {id: ada@example.com, roles: [admin]}\n"+
		"---\napiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: edd}\nspec: {id: edd@example.com, roles: [{name: editor, until: 2020-01-01T00:00:00Z}, {name: viewer, until: 2126-01-01T00:00:00Z}]}\n")
	in := file("in.json", `{"principal": {"user": "ann"}, "route": {"plugin": "x"}}`)
	log := file("log.jsonl", `{"path":"bulkhead/authz/decision","input":{"principal":{"user":"ann"},"route":{"plugin":"x"}},"result":{"allow":false,"reason":{"code":"no_plugin"}}}`+"\n")
	change := file("change.jsonl", `{"path":"bulkhead/authz/decision","input":{"principal":{"user":"vic@example.com"},"route":{"plugin":"x","action":"x:read"}},"result":{"allow":false,"reason":{"code":"no_action"}}}`+"\n")
	empty, text := file("empty.jsonl", ""), file("text", "This is no JSON.\n")
	config := file("bulkhead.yaml", "auth: {dev: {}}\ndirectory: {files: ./people}\npolicy: {dir: ./late}\n")
	file("lists/site.rego", "package bulkhead.authz\n\ndecision := {\"allow\": false, \"reason\": {\"code\": \"few\"}} if count(data.directory.users) < 4\n")
	loose, noBundle := file("loose.rego", "package   a\n"), file("x.gz", "\x1f\x8bthis is all\n")
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"policy", "test", at("good")}, "1 tests, 0 failed", 0},
		{[]string{"policy", "test", at("good"), "--coverage"}, "coverage", 0},
		{[]string{"policy", "test", at("bad")}, "FAIL  site.rego:5: data.bulkhead.authz.test_x", 1},
		{[]string{"policy", "test", at("bad"), "--json"}, `"failed": 1`, 1},
		{[]string{"policy", "test", at("good"), "-r", "test_x$"}, "1 tests, 0 failed", 0},
		{[]string{"policy", "test", at("good"), "-r", "nothing"}, "no test's name matches nothing", 1},
		{[]string{"policy", "test", at("good"), "-r", "("}, "--run: error parsing regexp", 2},
		{[]string{"policy", "test", at("divides")}, "data.bulkhead.authz.test_x: site.rego:5: eval_builtin_error: div: divide by zero", 1},
		{[]string{"policy", "test", at("divides")}, "2 tests, 1 failed, 1 skipped", 1},
		{[]string{"policy", "test", ""}, "an argument is empty", 2},
		{[]string{"policy", "check", "-c", ""}, "--config is empty", 2},
		{[]string{"policy", "check", text}, "neither a directory nor a bundle", 2},
		{[]string{"policy", "check", noBundle}, "not a gzipped tar", 1},
		{[]string{"policy", "test", at("absent")}, "no such file", 2},
		{[]string{"policy", "test", "../../policies"}, " 0 failed", 0},
		{[]string{"policy", "check", "../../policies", "--strict"}, "0 warnings", 0},
		{[]string{"policy", "check", at("broken")}, "site.rego:3", 1},
		{[]string{"policy", "check", at("late")}, "uncached", 0},
		{[]string{"policy", "check", at("late")}, "1 warnings; it has no tests\n", 0},
		{[]string{"policy", "check", at("good")}, "0 warnings\n", 0},
		{[]string{"policy", "check", at("seven")}, "fails: the decision fails for every question, so a host denies everything: decision: is not an object", 0},
		{[]string{"policy", "check", at("reads")}, "site.rego:1: schema: a misspelt path", 0},
		{[]string{"policy", "check", at("reads")}, "1 warnings\n", 0},
		{[]string{"policy", "check", at("checked"), "--strict"}, "0 warnings\n", 0},
		{[]string{"policy", "check", at("late"), "--strict"}, "1 warnings", 1},
		{[]string{"policy", "check", "--capabilities"}, `"builtins"`, 0},
		{[]string{"policy", "fmt", "-l", at("good")}, "", 0},
		{[]string{"policy", "fmt", "-l", loose}, "loose.rego", 1},
		{[]string{"policy", "fmt", "-l", "-w", loose}, "loose.rego", 0},
		{[]string{"policy", "fmt", "-l", loose}, "", 0},
		{[]string{"policy", "eval", at("good"), "-i", in}, `"no_plugin"`, 0},
		{[]string{"policy", "eval", at("good"), "-i", in, "-q", "data.nothing"}, "undefined", 1},
		{[]string{"policy", "eval", at("good"), "-i", in, "-q", "1 == 2"}, "false", 0},
		{[]string{"policy", "eval", at("good"), "-i", in, "-q", "1 / 0"}, "divide by zero", 1},
		{[]string{"policy", "eval", at("good"), "-i", in, "-q", "x ="}, "query:", 2},
		{[]string{"policy", "eval", at("good"), "-i", in, "-q", "y"}, "query:", 2},
		{[]string{"policy", "eval", at("good"), "-i", text}, "input:", 2},
		{[]string{"policy", "eval", at("good"), "-i", file("list.json", "[]")}, "input: must be an object, not array", 2},
		{[]string{"policy", "eval", at("good"), "-i", file("record.json", `{"decision_id": "1", "input": {}}`)}, "jq .input", 2},
		{[]string{"policy", "explain", "-d", at("people"), "vic@example.com", "gitops:helm.read"}, "ALLOWED", 0},
		{[]string{"policy", "explain", "-d", at("people"), "-p", at("late"), "vic@example.com", "gitops:helm.read"}, "site.rego:3", 1},
		{[]string{"policy", "explain", "-d", at("people"), "vic@example.com", "gitops:helm.upgrade"}, "role viewer", 1},
		{[]string{"policy", "explain", "-d", at("people"), "vik@example.com", "gitops:helm.read"}, `does not list "vik@example.com"`, 1},
		{[]string{"policy", "explain", "-d", at("people"), "edd@example.com", "gitops:helm.upgrade"}, "the membership in role editor ended at 2020-01-01T00:00:00Z", 1},
		{[]string{"policy", "explain", "-d", at("people"), "edd@example.com", "gitops:helm.upgrade"}, "does not cover the time (the membership ended at 2020-01-01T00:00:00Z)", 1},
		{[]string{"policy", "explain", "-d", at("people"), "edd@example.com", "gitops:helm.read"}, "action *:*.read (until 2126-01-01T00:00:00Z)", 0},
		{[]string{"directory", "check", at("people")}, "edd@example.com: role editor ended at 2020-01-01T00:00:00Z\nedd@example.com: role viewer until 2126-01-01T00:00:00Z\n", 0},
		{[]string{"policy", "explain", "vic@example.com", "gitops:helm.upgrade"}, "--directory", 2},
		{[]string{"policy", "explain", "-d", at("people"), "new@example.com", "gitops:helm.read", "--unlisted", "--role", "viewer"}, "ALLOWED", 0},
		{[]string{"policy", "explain", "-d", at("people"), "new@example.com", "gitops:helm.read", "--unlisted", "--role", "vewer"}, "role vewer: it does not exist in the directory", 1},
		{[]string{"policy", "explain", "-d", at("people"), "vic@example.com", "gitops:pods.read", "dev/shop/pods:web"}, `conditions    {"impersonate":{"groups":["bulkhead:role:viewer"]`, 0},
		{[]string{"policy", "explain", "-d", at("people"), "new@example.com", "gitops:helm.read", "--role", ""}, "roles: each must have 1 to 256 bytes", 2},
		{[]string{"policy", "explain", "-d", at("people"), "vic@example.com", "azure:monitor.read", "prod/rg1/monitor"}, "plugin * without entries", 1},
		{[]string{"policy", "explain", "-d", at("people"), "ada@example.com", "azure:virtualmachinescalesets.restart", "prod/rg1/virtualmachinescalesets:s"}, "entry {", 0},
		{[]string{"policy", "explain", "-d", at("people"), "vic@example.com", "x:y", "prod"}, "INSTANCE/RESOURCEGROUP/TYPE", 2},
		{[]string{"policy", "bench", "-d", at("people"), "vic@example.com", "gitops:helm.read", "--for", "20ms"}, "cached", 0},
		{[]string{"policy", "bench", "-d", at("people"), "vic@example.com", "gitops:helm.read", "--for", "0s"}, "--for 0s", 2},
		{[]string{"policy", "explain", "-d", at("people"), "-p", "", "vic@example.com", "gitops:helm.read"}, "--policy is empty", 2},
		{[]string{"policy", "diff", "log", at("good"), "-l", log}, "0 decisions would change", 0},
		{[]string{"policy", "diff", "shipped", at("late"), "-l", log}, "no_plugin → late", 1},
		{[]string{"policy", "diff", "log", "shipped", "-l", log, "-d", at("people")}, "permissions: matched again with " + at("people"), 0},
		{[]string{"policy", "diff", "log", "shipped", "-l", change, "-d", at("people")}, "no_action → permitted", 1},
		{[]string{"policy", "diff", "log", "shipped", "-l", change, "-c", config}, "no_action → permitted", 1},
		{[]string{"policy", "diff", "log", at("lists"), "-l", log}, "--directory", 2},
		{[]string{"policy", "diff", "log", at("lists"), "-l", log, "-d", at("people")}, "1 decisions would change", 1},
		{[]string{"policy", "diff", "log", "shipped", "-l", in}, "1 records that are not decisions", 1},
		{[]string{"policy", "diff", "log", "shipped", "-l", empty}, "none of its decisions could be replayed", 1},
		{[]string{"policy", "diff", "log", "shipped", "-l", text}, "decision log: record 1", 2},
		{[]string{"policy", "diff", "log", "", "-l", log}, "an argument is empty", 2},
		{[]string{"policy", "build", at("bad"), "-o", at("x.tar.gz")}, "nothing was written", 1},
		{[]string{"policy", "build", at("good"), "-o", at("x.tar.gz"), "--revision", "r1"}, "  not signed\n", 0},
		{[]string{"policy", "build", at("good"), "-o", ""}, "--output is empty", 2},
		{[]string{"policy", "build", at("good"), "-o", dir}, "is a directory", 2},
		{[]string{"policy", "build", at("good"), "-o", at("nowhere/x.tar.gz")}, "its directory does not exist", 2},
		{[]string{"policy", "check", at("x.tar.gz")}, "compiles", 0},
		{[]string{"policy", "bogus"}, "bogus", 2},
	} {
		stdout, stderr, code := bulkhead(t, c.args...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%v: exit code %d, want %d and %q\n%s%s", c.args, code, c.code, c.want, stdout, stderr)
		}
	}
}

// A bundle that is meant to be signed is signed or not there, and what keeps it
// from that is said in the words of the command line.
func TestABundleIsSignedAsAskedOrNotAtAll(t *testing.T) {
	elliptical, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(elliptical)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&elliptical.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := files(t, "policy/site.rego", "package bulkhead.authz\n\ndecision := data.bulkhead.default.decision\n",
		"ec.key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})),
		"secret", strings.Repeat("secret ", 10), "public.key", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
	out := filepath.Join(dir, "x.tar.gz")
	for _, c := range []struct {
		args string
		want string
		code int
	}{
		{"--key ec.key --algorithm ES384 --key-id ops --serial 7", "  signed by ops (ES384), serial 7\n", 0},
		{"--key ec.key --serial 0", "  signed by a key without id (ES384)\n", 0},
		{"--key ec.key --expires-in 720h", "  signed by a key without id (ES384), serial 1", 0},
		{"--key ec.key --expires-in -1h", "--expires-in -1h0m0s must not be negative", 2},
		{"--serial 7", "--serial needs --key", 2},
		{"--expires-in 1h", "--expires-in needs --key", 2},
		{"--key secret --algorithm HS256 --json", `"signed": true`, 0},
		{"--key= --algorithm ES384", "--key is empty", 2},
		{"--algorithm ES384", "--algorithm needs --key", 2},
		{"--key-id ops", "--key-id needs --key", 2},
		{"--key absent.key", "--key: stat absent.key: no such file", 2},
		{"--key ec.key --algorithm ES256", "--key: ec.key: the key is EC P-384 and does not fit the algorithm ES256; use ES384", 2},
		{"--key ec.key --algorithm none", "the algorithm none is not supported", 2},
		{"--key secret", "--key: secret: the key is not PEM", 2},
		{"--key public.key", "the key is public", 2},
	} {
		_ = os.Remove(out)
		cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"policy", "build", "policy", "-o", out}, strings.Fields(c.args)...)...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "BULKHEAD_TEST_AS_PROGRAM=1")
		said, _ := cmd.CombinedOutput()
		_, err := os.Stat(out)
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(said), c.want) || (err == nil) != (code == 0) {
			t.Errorf("%s: exit code %d, want %d and %q: %s (%v)", c.args, code, c.code, c.want, said, err)
		}
	}
}

func TestOnlyRegularFilesAreReplaced(t *testing.T) {
	const policy = "package bulkhead.authz\n\ndecision := data.bulkhead.default.decision\n"
	dir := files(t, "policy/site.rego", policy, "store/x.tar.gz", "old", "store/loose.rego", "package   a\n")
	bundle, loose, fifo := filepath.Join(dir, "x.tar.gz"), filepath.Join(dir, "loose.rego"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.Symlink("store/x.tar.gz", bundle), os.Symlink("store/loose.rego", loose), syscall.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"policy", "build", filepath.Join(dir, "policy"), "-o", bundle}, {"policy", "fmt", "-w", loose}} {
		if _, stderr, code := bulkhead(t, args...); code != 0 {
			t.Errorf("%v: %d %s", args, code, stderr)
		}
	}
	for _, link := range []string{bundle, loose} {
		if to, err := os.Readlink(link); err != nil || !strings.HasPrefix(to, "store/") {
			t.Errorf("the link became %q, %v", to, err)
		}
	}
	if text, err := os.ReadFile(loose); err != nil || string(text) != "package a\n" {
		t.Errorf("%q, %v", text, err)
	}
	_, stderr, code := bulkhead(t, "policy", "build", filepath.Join(dir, "policy"), "-o", fifo)
	if info, err := os.Lstat(fifo); code != 1 || !strings.Contains(stderr, fifo+" is not a regular file") || err != nil || info.Mode().IsRegular() {
		t.Errorf("a pipe: %d %s, %v", code, stderr, err)
	}
}

// A log's texts come from whoever asked.
func TestWhatIsLoggedDoesNotSteerTheTerminal(t *testing.T) {
	log := filepath.Join(t.TempDir(), "d.jsonl")
	record := `{"decision_id": "1", "path": "bulkhead/authz/decision", "result": {"allow": true, "reason": {"code": "\u001b]0;x"}, "obligations": {}},
		"input": {"principal": {"user": "\u001b[2Jann"}, "permissions": {}, "route": {"plugin": "p", "action": "p:\u0007"}, "resource": {}, "reason": ""}}`
	if err := os.WriteFile(log, []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, code := bulkhead(t, "policy", "diff", "log", "shipped", "--log", log)
	if code != 1 || !strings.Contains(out, ".[2Jann") || strings.ContainsAny(out+errs, "\x1b\x07") {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
}
