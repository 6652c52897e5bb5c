package cluster

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

const validConfig = `apiVersion: v1
kind: Config
current-context: a
contexts: [{name: a, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: very-secret}}]
`

func TestBadConfigurationNamesItsField(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good", validConfig)
	for want, configs := range map[string][]Config{
		"clusters[0].name":        {{Name: "No Name", Kubeconfig: good}},
		"clusters[1].name":        {{Name: "a", Kubeconfig: good}, {Name: "a", Kubeconfig: good}},
		"clusters[0].kubeconfig":  {{Name: "a", Kubeconfig: filepath.Join(dir, "absent")}},
		"kubeconfig: is required": {{Name: "a", WaitForKubeconfig: true}},
		"is empty":                {{Name: "a", Kubeconfig: file("empty", " \n")}},
		"cannot unmarshal":        {{Name: "a", Kubeconfig: file("scalar", "hello")}},
		"clusters[0].context":     {{Name: "a", Kubeconfig: good, Context: "other"}},
		"a second document":       {{Name: "a", Kubeconfig: file("two", validConfig+"\n---\n"+validConfig)}},
		"twice in a mapping":      {{Name: "a", Kubeconfig: file("twice", validConfig+"\ncurrent-context: a\n")}},
		"all aliases replaced":    {{Name: "a", Kubeconfig: file("bomb", validConfig+"\nx: &x "+strings.Repeat("x", 50_000)+"\ny: ["+strings.Repeat("*x,", 12_000)+"]\n")}},
		"no current context":      {{Name: "a", Kubeconfig: file("none", strings.Replace(validConfig, "current-context: a", "", 1))}},
		"impersonates":            {{Name: "a", Kubeconfig: file("as", strings.Replace(validConfig, "token: very-secret", "token: very-secret, as: root", 1))}},
	} {
		set, err := Open(t.Context(), configs, slog.New(slog.DiscardHandler))
		if set != nil || err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "clusters[") {
			t.Errorf("want %q, got %v", want, err)
		}
		if err != nil && strings.Contains(err.Error(), "very-secret") {
			t.Errorf("the error shows a token: %v", err)
		}
	}
}

func TestStartingAndUnknownClusters(t *testing.T) {
	set, err := Open(t.Context(), []Config{{Name: "dev", Kubeconfig: filepath.Join(t.TempDir(), "later"), WaitForKubeconfig: true}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	ann := &host.Impersonation{User: "ann"}
	_, err = set.As(t.Context(), "dev", ann, &authority{})
	if host.KindOf(err) != host.Unavailable || !strings.Contains(err.Error(), `cluster "dev" is starting`) {
		t.Errorf("got %v", err)
	}
	if _, err = set.As(t.Context(), "prod", ann, &authority{}); host.KindOf(err) != host.NotFound {
		t.Errorf("got %v", err)
	}
	if s := set.Ready(); len(s) != 1 || s[0].Ready || !strings.HasPrefix(s[0].Detail, "starting") {
		t.Errorf("readiness says %+v", s)
	}
}

func TestUnreachableClusterIsUnavailable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(validConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := Open(t.Context(), []Config{{Name: "dev", Kubeconfig: file}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	c, err := set.As(t.Context(), "dev", &host.Impersonation{User: "ann"}, &authority{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Do(t.Context(), &Request{Method: "GET", Path: "/api/v1/pods", Limit: 1})
	if host.KindOf(err) != host.Unavailable || strings.Contains(err.Error(), "very-secret") {
		t.Errorf("got %v", err)
	}
	flat := c.Failure(op, "it failed", errors.New(strings.TrimPrefix(err.Error(), "cluster: ")))
	for _, err := range []error{err, flat} {
		e, _ := errors.AsType[*host.Error](err)
		if told := e.Public() + " " + e.Detail; !strings.Contains(told, "dev") || strings.Contains(told, "127.0.0.1") {
			t.Errorf("the user sees %q", told)
		}
		if !strings.Contains(err.Error(), "127.0.0.1:1") {
			t.Errorf("the operator sees %q", err)
		}
	}
}

func TestLibrariesDoNotGetCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(validConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := Open(t.Context(), []Config{{Name: "dev", Kubeconfig: file}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	c, err := set.As(t.Context(), "dev", &host.Impersonation{User: "ann"}, &authority{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := c.Getter("shop").ToRawKubeConfigLoader().ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	if config.BearerToken != "" || config.Username != "" || len(config.KeyData) > 0 || config.AuthProvider != nil || config.ExecProvider != nil {
		t.Errorf("the configuration holds credentials: %v", config)
	}
	if _, ok := config.Transport.(*guard); !ok {
		t.Errorf("the transport is a %T, not the guard", config.Transport)
	}
}
