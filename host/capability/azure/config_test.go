package azure_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure/azuretest"
	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

func TestEachKindOfCredentialSignsIn(t *testing.T) {
	f := azuretest.Start(t)
	dir := t.TempDir()
	write := func(name string, data []byte, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("IDENTITY_ENDPOINT", f.Control+"/identity") // as Azure App Service gives it
	t.Setenv("IDENTITY_HEADER", "x")
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	write("az", fmt.Appendf(nil, "#!/bin/sh\necho '{\"accessToken\":%q,\"expires_on\":%d,\"expiresOn\":\"2099-01-01 00:00:00.000000\"}'\n",
		managedToken(t, f), time.Now().Add(time.Hour).Unix()), 0o700)
	for name, edit := range map[string]func(*azure.Config){
		"secret":      func(c *azure.Config) {},
		"certificate": func(c *azure.Config) { c.ClientCertificateFile = write("client.pem", certificate(t), 0o600) },
		"workload":    func(c *azure.Config) { c.TokenFile = write("token", []byte("federated"), 0o600) },
		"managed":     func(c *azure.Config) { c.Tenant, c.ClientID = "", "" },
		"cli":         func(c *azure.Config) { c.Tenant, c.ClientID = "", "" },
	} {
		c := f.Config("prod")
		c.Credential = name
		if name != "secret" {
			c.ClientSecretFile = ""
		}
		edit(&c)
		p := newPerson(t, c)
		if _, err := p.do("GET", web); err != nil {
			t.Errorf("%s: %v\n%s", name, err, p.log)
		}
	}
}

func managedToken(t *testing.T, f *azuretest.Fake) string {
	req, err := http.NewRequestWithContext(t.Context(), "GET", f.Control+"/identity", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Identity-Header", "x")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return body.Token
}

func certificate(t *testing.T) []byte {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "host"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
}

const (
	subscription = "00000000-0000-4000-8000-00000000000a"
	tenant       = "example.onmicrosoft.com"
)

func TestMistakesInAnInstanceNameTheField(t *testing.T) {
	t.Parallel()
	good := `"name":"prod","subscription":"` + subscription + `"`
	for text, want := range map[string]string{
		`[{` + good + `,"credential":"managed"}]`:                                                   "",
		`[{` + good + `,"credential":"workload","cloud":"china"}]`:                                  "",
		`[{` + good + `,"credential":"cli","cloud":{"name":"government"}}]`:                         "",
		`[{` + good + `,"credential":"secret","tenant":"t","clientID":"c","clientSecretFile":"f"}]`: "",
		`[{"subscription":"` + subscription + `","credential":"cli"}]`:                              `azure[0].name: "" is not`,
		`[{"name":"Prod","subscription":"` + subscription + `","credential":"cli"}]`:                `azure[0].name: "Prod" is not`,
		`[{` + good + `,"credential":"cli"},{` + good + `,"credential":"cli"}]`:                     `azure[1].name: "prod" is not a lower-case DNS label, or is used twice`,
		`[{"name":"prod","subscription":"mine","credential":"cli"}]`:                                `azure[0].subscription: "mine" is not`,
		`[{` + good + `}]`: `azure[0].credential: "" must be workload, managed, secret, certificate or cli`,
		`[{` + good + `,"credential":"secret","tenant":"t","clientID":"c"}]`:                                          "azure[0].clientSecretFile: is required with the credential secret",
		`[{` + good + `,"credential":"certificate"}]`:                                                                 "azure[0].tenant: is required",
		`[{` + good + `,"credential":"managed","clientSecretFile":"f"}]`:                                              "azure[0].clientSecretFile: is not used with the credential managed",
		`[{` + good + `,"credential":"cli","cloud":"mars"}]`:                                                          "azure[0].cloud: must be public",
		`[{` + good + `,"credential":"cli","cloud":{"endpoint":"http://a","authority":"https://b"}}]`:                 `azure[0].cloud.endpoint: "http://a" is not an https URL`,
		`[{` + good + `,"credential":"cli","cloud":{"endpoint":"https://a"}}]`:                                        `azure[0].cloud.authority: "" is not an https URL`,
		`[{` + good + `,"credential":"cli","cloud":{"endpoint":"https://a/b?c","authority":"https://b"}}]`:            "azure[0].cloud.endpoint",
		`[{` + good + `,"credential":"cli","cloud":{"name":"china","endpoint":"https://a","authority":"https://b"}}]`: "azure[0].cloud: must be",
	} {
		var list []azure.Config
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		err := config.Check("azure", func(bad *config.Problems) { azure.CheckConfigs(bad, list) })
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		again, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		var back []azure.Config
		if err := json.Unmarshal(again, &back); err != nil || fmt.Sprint(back) != fmt.Sprint(list) {
			t.Errorf("%s is written as %s: %v", text, again, err)
		}
	}
	if err := json.Unmarshal([]byte(`{"endpiont":"x"}`), new(azure.Cloud)); err == nil {
		t.Error("a misspelt key of cloud is accepted")
	}
}

func TestFilesThatCannotBeUsedNameTheField(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err == nil {
		err = os.WriteFile(bad, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	base := azure.Config{Name: "prod", Subscription: subscription, Tenant: tenant, ClientID: "c"}
	for want, edit := range map[string]func(*azure.Config){
		"azure[0]: clientSecretFile:":                                              func(c *azure.Config) { c.Credential, c.ClientSecretFile = "secret", filepath.Join(dir, "absent") },
		"azure[0]: clientCertificateFile: contains no certificate":                 func(c *azure.Config) { c.Credential, c.ClientCertificateFile = "certificate", bad },
		"azure[0]: cloud.caFile: " + bad + ": contains no certificate in PEM form": func(c *azure.Config) { c.Credential, c.Cloud.CAFile = "cli", bad },
		"azure[0]: cloud.caFile: open":                                             func(c *azure.Config) { c.Credential, c.Cloud.CAFile = "cli", filepath.Join(dir, "absent") },
	} {
		c := base
		edit(&c)
		_, err := azure.New([]azure.Config{c}, plainSealer{}, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if err != nil && strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("the error has the file's content: %v", err)
		}
	}
}
