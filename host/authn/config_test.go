package authn

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// problems returns those of the options of a host that is not on loopback.
func problems(o *Options) error {
	return config.Check("auth", func(bad *config.Problems) { o.Check(bad, false) })
}

// Each configuration error begins with the path of its field.
func TestConfigurationErrorsNameTheField(t *testing.T) {
	const good = "{name: corp, issuer: https://id.example.com, clientID: c, clientSecretFile: s, user: email, idDomains: [example.com]}"
	for text, want := range map[string]string{
		"{}": "auth:", "dev: {}": "auth.dev:", "disabled: {}": "auth.disabled:",
		"{disabled: {anywhere: true}, dev: {}}":                                                                      "auth.disabled:",
		"disabled: {anywhere: true, user: 'a b'}":                                                                    "auth.disabled.user:",
		"oidc: [" + strings.Replace(good, "corp", "Corp", 1) + "]":                                                   "auth.oidc[0].name:",
		"oidc: [" + strings.Replace(good, "corp", "github", 1) + "]":                                                 "auth.oidc[0].name:",
		"oidc: [" + good + ", " + good + "]":                                                                         "auth.oidc[1].name:",
		"oidc: [" + good + ", " + strings.Replace(good, "corp", "other", 1) + "]":                                    "auth.oidc[1].idDomains:",
		"oidc: [" + strings.Replace(good, "https", "http", 1) + "]":                                                  "auth.oidc[0].issuer:",
		"oidc: [" + strings.Replace(good, "id.example.com", "", 1) + "]":                                             "auth.oidc[0].issuer:",
		"oidc: [" + strings.Replace(good, "clientSecretFile: s, ", "", 1) + "]":                                      "auth.oidc[0]:",
		"oidc: [" + strings.Replace(good, "clientSecretFile: s", "clientSecretFile: s, clientSecretEnv: S", 1) + "]": "auth.oidc[0]:",
		"oidc: [" + strings.Replace(good, ", idDomains: [example.com]", "", 1) + "]":                                 "auth.oidc[0].idDomains:",
		"oidc: [" + strings.Replace(good, "example.com]", "'@example.com']", 1) + "]":                                "auth.oidc[0].idDomains:",
		"oidc: [" + strings.Replace(good, "user: email, ", "", 1) + "]":                                              "auth.oidc[0].user:",
		"oidc: [{name: ci, issuer: https://id.example.com, bearer: true, user: sub}]":                                "auth.oidc[0].audiences:",
		"oidc: [{name: ci, issuer: https://id.example.com, user: sub}]":                                              "auth.oidc[0].clientID:",
		"github: {clientSecretFile: s}":                                                                              "auth.github.clientID:",
		"github: {clientID: c}":                                                                                      "auth.github:",
		"github: {clientID: c, clientSecretFile: s, user: login}":                                                    "auth.github.user:",
		"github: {clientID: c, clientSecretFile: s, user: name}":                                                     "auth.github.user:",
		"github: {clientID: c, clientSecretFile: s, url: ftp://x}":                                                   "auth.github.url:",
		"proxy: {}":                                                              "auth.proxy.from:",
		"proxy: {from: [0.0.0.0/0]}":                                             "auth.proxy.from:",
		"proxy: {from: [proxy.example.com]}":                                     "auth.proxy.from:",
		"proxy: {from: [10.0.0.1], user: 'X_User'}":                              "auth.proxy.user:",
		"{proxy: {from: [10.0.0.1]}, lifetimes: {idle: 5s}}":                     "auth.lifetimes.idle:",
		"{proxy: {from: [10.0.0.1]}, lifetimes: {token: 13h}}":                   "auth.lifetimes.token:",
		"{proxy: {from: [10.0.0.1]}, signing: {algorithm: none, secretFile: x}}": "auth.signing.algorithm:",
		"{proxy: {from: [10.0.0.1]}, signing: {algorithm: HS256}}":               "auth.signing:",
	} {
		var o Options
		if err := yaml.UnmarshalStrict([]byte(text), &o); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if err := problems(&o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to name %q", text, err, want)
		}
	}
	var o Options
	all := "{oidc: [" + good + "], github: {clientID: c, clientSecretEnv: S}, proxy: {from: [10.0.0.0/8, unix]}, lifetimes: {token: 1h}, signing: {algorithm: HS256, secretEnv: S}}"
	if err := yaml.UnmarshalStrict([]byte(all), &o); err != nil {
		t.Fatal(err)
	}
	if err := problems(&o); err != nil {
		t.Error(err)
	}
	if !o.OAuthConfigured() || strings.Join(o.Methods(), " ") != "corp github proxy" {
		t.Errorf("%v, %v", o.OAuthConfigured(), o.Methods())
	}
	if time.Duration(o.Lifetimes.Token) != time.Hour || o.OIDC[0].File != "s" || o.OIDC[0].User != "email" {
		t.Errorf("%+v", o)
	}
	if (&Options{OIDC: []OIDC{{ClientID: "c"}}}).OAuthConfigured() {
		t.Error("an id without a secret is OAuth") // Origin: KubeStellar #6056
	}
}

func TestAMissingSecretIsAnErrorAtStart(t *testing.T) {
	t.Setenv("EMPTY", "")
	public := &url.URL{Scheme: "https", Host: "console.example.com"}
	for name, c := range map[string]struct {
		secret Secret
		want   string
	}{
		"no file":       {Secret{File: "/nowhere"}, "auth.oidc[0].clientSecretFile"},
		"an empty file": {secretFile(t, ""), "auth.oidc[0].clientSecretFile"},
		"no variable":   {Secret{Env: "EMPTY"}, "auth.oidc[0].clientSecretEnv"},
	} {
		if _, err := newOIDC(OIDC{ClientID: "c", Secret: c.secret}, "auth.oidc[0]", public, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newClient("auth.oidc[0]", secretFile(t, "not PEM").File, nil); err == nil || !strings.Contains(err.Error(), "auth.oidc[0].caFile") {
		t.Errorf("no certificate: %v", err)
	}
}
