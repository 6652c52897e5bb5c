// Package azuretest gives tests an Azure: examples/azure-fake, which is the Azure SDK's
// own fake servers behind a TLS listener with a token endpoint. Each test has its own,
// which ends with the test process however that ends.
//
// BULKHEAD_AZUREFAKE names a program that is already built; building it takes two
// minutes the first time.
package azuretest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/buildlock"
)

// Fake is a running Azure.
type Fake struct {
	Endpoint, Authority, CAFile, Control, Subscription, Tenant, ClientID string

	SecretFile string // contains Secret

	t    testing.TB
	cmd  *exec.Cmd
	hold io.Closer // the program's standard input; it ends when this does
	once sync.Once
}

// Secret is the client secret that the token endpoint accepts.
const Secret = "canary-secret-9f2c"

// Start returns an Azure for this test. Flags are azure-fake's.
func Start(t testing.TB, flags ...string) *Fake {
	t.Helper()
	program, err := find()
	if err != nil {
		t.Fatalf("azure-fake: %v", err)
	}
	dir := t.TempDir()
	f := &Fake{t: t, SecretFile: filepath.Join(dir, "secret")}
	f.cmd = exec.Command(program, append([]string{"--exit-with-parent", "--dir", dir, "--client-secret", Secret}, flags...)...)
	f.cmd.Stderr = os.Stderr
	if f.hold, err = f.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Stop)
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, f)
	}
	if err != nil {
		t.Fatalf("azure-fake said %q: %v", line, err)
	}
	return f
}

// Stop stops the program, as when a subscription cannot be reached. It may be called
// repeatedly.
func (f *Fake) Stop() {
	f.once.Do(func() {
		_ = f.hold.Close()
		_ = f.cmd.Wait() // how it ended does not matter
	})
}

// Config is an instance at this Azure, with a client secret.
func (f *Fake) Config(name string) azure.Config {
	return azure.Config{
		Name: name, Subscription: f.Subscription, Tenant: f.Tenant, Credential: "secret", ClientID: f.ClientID, ClientSecretFile: f.SecretFile,
		Cloud: azure.Cloud{Endpoint: f.Endpoint, Authority: f.Authority, CAFile: f.CAFile},
	}
}

// YAML returns Config as YAML for a configuration file.
func (f *Fake) YAML(name string) string {
	text, err := json.Marshal(f.Config(name))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(text)
}

// Request is a request that reached Azure Resource Manager.
type Request struct{ Method, URI, Body, Correlation string }

// Requests returns all requests since Forget, oldest first.
func (f *Fake) Requests() (list []Request) {
	f.t.Helper()
	f.do("GET", "/requests", nil, &list)
	return list
}

// Forget empties Requests.
func (f *Fake) Forget() { f.t.Helper(); f.do("DELETE", "/requests", nil, nil) }

// Fault is azure-fake's.
type Fault struct {
	Method     string `json:"method,omitempty"`
	Path       string `json:"path,omitempty"`
	Times      int    `json:"times,omitempty"`
	Status     int    `json:"status,omitempty"`
	Code       string `json:"code,omitempty"`
	Message    string `json:"message,omitempty"`
	RetryAfter string `json:"retryAfter,omitempty"`
	DelayMS    int    `json:"delayMs,omitempty"`
	Drop       bool   `json:"drop,omitempty"`
	Body       string `json:"body,omitempty"`
	Location   string `json:"location,omitempty"`
}

// Fail adds a fault.
func (f *Fake) Fail(x Fault) { f.t.Helper(); f.do("POST", "/faults", x, nil) }

// Heal removes all faults.
func (f *Fake) Heal() { f.t.Helper(); f.do("DELETE", "/faults", nil, nil) }

// Hold keeps operations in progress until Release.
func (f *Fake) Hold()    { f.t.Helper(); f.do("POST", "/hold", nil, nil) }
func (f *Fake) Release() { f.t.Helper(); f.do("POST", "/release", nil, nil) }

// Expire makes every token unacceptable.
func (f *Fake) Expire() { f.t.Helper(); f.do("POST", "/expire", nil, nil) }

func (f *Fake) do(method, path string, in, out any) {
	f.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		f.t.Fatal(err)
	}
	req, err := http.NewRequest(method, f.Control+path, bytes.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && out != nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil || resp.StatusCode != 200 {
		f.t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, text, err)
	}
}

var find = sync.OnceValues(func() (string, error) { return buildlock.Program("azure-fake", "BULKHEAD_AZUREFAKE") })
