package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the help of the policy tools and policies/README.md tell people to type
// does what it says in a directory like theirs.
func TestTheExamplesOfThePolicyToolsWork(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const entry = "apiVersion: bulkhead.internal/v1\n"
	people := entry + "kind: User\nmetadata: {name: vic}\nspec: {id: vic@example.com, roles: [viewer]}\n---\n" +
		entry + "kind: Team\nmetadata: {name: payments}\nspec: {id: payments@example.com, permissions: {actions: ['gitops:*'], plugins: [{name: gitops}]}}\n"
	file("directory/people.yaml", people)
	file("directory-next/people.yaml", people)
	file("bulkhead.yaml", "auth: {dev: {}}\ndirectory: {files: ./directory}\npolicy: {dir: ./policies}\n")
	site := "package bulkhead.authz\n\ndecision := data.bulkhead.default.decision\n\ntest_x if decision.allow == false with input as {}\n"
	file("policies/site.rego", site)
	file("policies-next/site.rego", site)
	file("input.json", `{"principal": {"user": "vic@example.com"}, "route": {"plugin": "x"}}`)
	record := `{"path":"bulkhead/authz/decision","input":{"principal":{"user":"vic@example.com","roles":[],"teams":[]},"permissions":{"actions":[],"plugins":[],"resources":[]},"route":{"plugin":"x","action":"x:write"}},"result":{"allow":false,"reason":{"code":"no_plugin"}}}` + "\n"
	file("decisions.jsonl", record)
	file("decisions.jsonl.1", record)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file("ops.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))

	lines := strings.Split(readmeBlock(t), "\n")
	for _, c := range policyCommand().Commands() {
		lines = append(lines, strings.Split(c.Example, "\n")...)
	}
	program, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, line := range lines {
		line = strings.TrimSpace(line)
		_, noJQ := exec.LookPath("jq")
		if line == "" || strings.Contains(line, "jq ") && noJQ != nil {
			continue
		}
		ran++
		cmd := exec.CommandContext(t.Context(), "sh", "-c", `bulkhead() { "$PROGRAM" "$@"; }; `+line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "BULKHEAD_TEST_AS_PROGRAM=1", "PROGRAM="+program)
		out, err := cmd.CombinedOutput()
		code := 0
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		// That somebody may not, and that decisions would change, are answers.
		answer := strings.Contains(line, "policy explain") || strings.Contains(line, "policy diff")
		if code != 0 && !(code == 1 && answer && regexp.MustCompile("(?m)^DENIED|would change$").Match(out)) {
			t.Errorf("%s: exit code %d\n%s", line, code, out)
		}
	}
	if ran < 12 {
		t.Errorf("only %d examples were found", ran)
	}
}

// readmeBlock is what policies/README.md tells to type.
func readmeBlock(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../policies/README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sh\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("there is no block of commands")
	}
	return string(block[1])
}
