package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"golang.org/x/sync/singleflight"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

const (
	tokenTimeout = 30 * time.Second // for getting one
	refreshAhead = 5 * time.Minute  // before a token's end: it is renewed in the background
	tooLate      = 30 * time.Second // before a token's end: it is no longer used
)

// credential gets and caches the token of one instance. The SDK has a cache too, but
// callers that wait for it cannot be cancelled. Safe for concurrent use.
type credential struct {
	build  func() (azcore.TokenCredential, error)
	flight singleflight.Group
	mu     sync.Mutex
	token  azcore.AccessToken
}

// newCredential checks that the credential of c can be made. The files are read again
// for each token, so that a rotated secret is used for the next one.
func newCredential(c *Config, client *http.Client) (*credential, error) {
	k := &credential{build: func() (azcore.TokenCredential, error) { return c.credential(client) }}
	_, err := k.build()
	return k, err
}

func (c *Config) credential(client *http.Client) (azcore.TokenCredential, error) {
	options := azcore.ClientOptions{
		Cloud: c.Cloud.configuration(), Transport: client, Telemetry: policy.TelemetryOptions{Disabled: true},
		Retry: policy.RetryOptions{MaxRetries: 2, RetryDelay: 300 * time.Millisecond, MaxRetryDelay: 3 * time.Second, TryTimeout: 10 * time.Second},
	}
	private := c.Cloud.Endpoint != "" // has no instance metadata at Microsoft
	switch c.Credential {
	case "workload":
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, ClientID: c.ClientID, TenantID: c.Tenant, TokenFilePath: c.TokenFile, DisableInstanceDiscovery: private,
		})
	case "managed":
		o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
		if c.ClientID != "" {
			o.ID = azidentity.ClientID(c.ClientID)
		}
		return azidentity.NewManagedIdentityCredential(o)
	case "secret":
		secret, err := os.ReadFile(c.ClientSecretFile)
		if err != nil {
			return nil, fmt.Errorf("clientSecretFile: %w", err)
		}
		return azidentity.NewClientSecretCredential(c.Tenant, c.ClientID, trimNewline(secret),
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: private})
	case "certificate":
		data, err := os.ReadFile(c.ClientCertificateFile)
		if err != nil {
			return nil, fmt.Errorf("clientCertificateFile: %w", err)
		}
		chain, key, err := azidentity.ParseCertificates(strictyaml.TrimBOM(data), nil)
		if err != nil {
			return nil, errors.New("clientCertificateFile: contains no certificate with its private key")
		}
		return azidentity.NewClientCertificateCredential(c.Tenant, c.ClientID, chain, key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: private})
	case "cli":
		return azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{TenantID: c.Tenant, Subscription: c.Subscription})
	}
	return nil, fmt.Errorf("credential: %q is unknown", c.Credential)
}

// trimNewline removes what editors add to a secret: a byte order mark at the beginning,
// and line ends at the end.
func trimNewline(secret []byte) string {
	secret = strictyaml.TrimBOM(secret)
	for n := len(secret); n > 0 && (secret[n-1] == '\n' || secret[n-1] == '\r'); n-- {
		secret = secret[:n-1]
	}
	return string(secret)
}

// GetToken implements azcore.TokenCredential. A request with claims comes from a
// challenge (continuous access evaluation): the cached token is no longer valid.
func (k *credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	k.mu.Lock()
	token := k.token
	k.mu.Unlock()
	left := time.Until(token.ExpiresOn)
	if o.Claims == "" && left > refreshAhead {
		return token, nil
	}
	renewed := k.flight.DoChan(o.Claims, func() (any, error) { return k.renew(o) })
	if o.Claims == "" && left > tooLate {
		return token, nil
	}
	select {
	case r := <-renewed:
		if r.Err != nil {
			return azcore.AccessToken{}, r.Err
		}
		return r.Val.(azcore.AccessToken), nil
	case <-ctx.Done():
		return azcore.AccessToken{}, context.Cause(ctx)
	}
}

// forget drops a token that Azure did not accept, unless it was already replaced.
func (k *credential) forget(token string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.token.Token == token {
		k.token = azcore.AccessToken{}
	}
}

// renew is independent of its callers: if one is cancelled, the others still get the
// token.
func (k *credential) renew(o policy.TokenRequestOptions) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), tokenTimeout)
	defer cancel()
	source, err := k.build()
	if err == nil {
		var token azcore.AccessToken
		if token, err = source.GetToken(ctx, o); err == nil {
			k.mu.Lock()
			k.token = token
			k.mu.Unlock()
			return token, nil
		}
	}
	return nil, final{&host.Error{
		Kind: host.Upstream, Op: name, Message: "the host cannot sign in to Azure",
		Detail: "the host's log has the reason", Err: err,
	}}
}

// final is an error after which the SDK must not retry.
type final struct{ error }

func (final) NonRetriable()   {}
func (f final) Unwrap() error { return f.error }
