package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	aci "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
)

type token struct{ url string }

// GetToken asks the control listener for a managed identity's token.
func (t token) GetToken(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", t.url+"/identity?resource=x", nil)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	req.Header.Set("X-Identity-Header", "x")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	defer resp.Body.Close()
	var body struct {
		AccessToken string `json:"access_token"`
	}
	err = json.NewDecoder(resp.Body).Decode(&body)
	return azcore.AccessToken{Token: body.AccessToken, ExpiresOn: time.Now().Add(time.Hour)}, err
}

// The SDK's own client, which knows nothing of fakes, takes the listener for
// Azure: pages, a change that takes a while, a refusal.
func TestTheSDKsClientTakesItForAzure(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, options{listen: "127.0.0.1:0", polls: 2}, write) }()
	line, err := bufio.NewReader(read).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var ready Ready
	if err := json.Unmarshal(line, &ready); err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(ready.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	client, err := aci.NewContainerGroupsClient(ready.Subscription, token{ready.Control}, &arm.ClientOptions{
		ClientOptions: policy.ClientOptions{
			Transport: &http.Client{Transport: transport},
			Cloud: cloud.Configuration{
				ActiveDirectoryAuthorityHost: ready.Authority,
				Services:                     map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: ready.Endpoint, Audience: ready.Endpoint}},
			},
		}, DisableRPRegistration: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	pages, items := 0, 0
	for p := client.NewListPager(nil); p.More(); pages++ {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		items += len(page.Value)
	}
	if pages != 5 || items != 9 {
		t.Errorf("%d items on %d pages", items, pages)
	}
	poller, err := client.BeginRestart(ctx, "rg1", "web", nil)
	if err != nil {
		t.Fatal(err)
	}
	if poller.Done() {
		t.Error("a restart is over at once")
	}
	if _, err := poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: time.Second}); err != nil {
		t.Error(err)
	}
	_, err = client.Get(ctx, "rg1", "absent", nil)
	if e, ok := err.(*azcore.ResponseError); !ok || e.StatusCode != 404 || e.ErrorCode != "ResourceNotFound" {
		t.Errorf("got %v", err)
	}
	stop()
	if err := <-ended; err != nil && err != http.ErrServerClosed {
		t.Error(err)
	}
}
