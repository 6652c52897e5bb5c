package azure_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure"
	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure/azuretest"
)

func TestATokenIsHeldAndRenewed(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	var l listing
	for range 3 {
		p.get("GET", groupsIn, &l)
	}
	if err := os.WriteFile(f.SecretFile, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.get("GET", groupsIn, &l) // the token is still good
	fresh := newPerson(t, f.Config("prod"))
	_, err := fresh.do("GET", web)
	e, ok := errors.AsType[*host.Error](err)
	if !ok || e.Kind != host.Upstream || e.Message != "the host cannot sign in to Azure" {
		t.Fatalf("a wrong secret: %v", err)
	}
	if !strings.Contains(fresh.log.String(), "level=WARN") || !strings.Contains(fresh.log.String(), "AADSTS7000215") {
		t.Errorf("the log does not say why:\n%s", fresh.log)
	}
	if x := capability.ErrorFrame(err); strings.Contains(x.Message+x.Detail, "AADSTS") || x.Status != 502 {
		t.Errorf("the guest reads %+v", x)
	}
	// A token that Azure takes no more is replaced, if there is another to be had.
	f.Expire()
	if _, err := p.do("GET", web); host.KindOf(err) != host.Upstream {
		t.Errorf("a revoked token and a wrong secret: %v", err)
	}
	// A secret that was rotated counts without a restart.
	if err := os.WriteFile(f.SecretFile, []byte(azuretest.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh.get("GET", groupsIn, &l)
	p.get("GET", groupsIn, &l)
	f.Expire()
	p.get("GET", groupsIn, &l)
	var begun outcome
	f.Expire()
	if p.get("POST", web+"/restart", &begun); begun.Status != "InProgress" {
		t.Errorf("a change with a revoked token: %+v", begun)
	}
}

func TestAGrantNamesInstancesThatThereAre(t *testing.T) {
	t.Parallel()
	a, err := azure.New([]azure.Config{{Name: "prod", Subscription: subscription, Credential: "cli"}}, plainSealer{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	deny := func(context.Context, *host.Question) host.Decision { return host.Decision{} }
	any := []string{"*"}
	for grant, want := range map[string]string{
		"prod": "", "p*": "", "prd": `grants.azure[0].instances[0]: "prd" matches none of prod`,
	} {
		_, err := capability.NewBroker(deny, slog.New(slog.DiscardHandler), a).Grant("azure", map[string][]capability.Grant{
			"azure": {{Instances: []string{grant}, Resources: any, ResourceGroups: any, Verbs: any}},
		})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", grant, err)
		}
	}
}

func TestManyWaitForOneToken(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := p.do("GET", web); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestSecretsStayOutOfTheLog(t *testing.T) {
	t.Parallel()
	f := azuretest.Start(t)
	p := newPerson(t, f.Config("prod"))
	var l listing
	p.get("GET", groupsIn, &l)
	f.Fail(azuretest.Fault{Status: 500, Times: 1})
	p.get("GET", groupsIn, &l)
	f.Expire()
	_, _ = p.do("GET", web)
	for _, secret := range []string{azuretest.Secret, "fake-token-", "client_secret", "Bearer"} {
		if strings.Contains(p.log.String(), secret) {
			t.Errorf("the log has %q:\n%s", secret, p.log)
		}
	}
	if !strings.Contains(p.log.String(), "correlation=") {
		t.Errorf("the log does not name requests:\n%s", p.log)
	}
}
