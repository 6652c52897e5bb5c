package authn

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Examination is what a sign-in method's provider answers.
type Examination struct {
	Method string        // oidc:NAME or github
	Skew   time.Duration // by how much the provider's clock is ahead, in whole seconds
	Err    error         // why the method cannot be used now
}

// Examine asks the providers of the sign-in methods in o, as a host whose URL is public
// would. It takes at most ten seconds for each.
func Examine(ctx context.Context, o Options, public *url.URL) (list []Examination) {
	log := slog.New(slog.DiscardHandler)
	for i, c := range o.OIDC {
		x := Examination{Method: "oidc:" + c.Name}
		p, err := newOIDC(c, fmt.Sprintf("auth.oidc[%d]", i), public, log)
		if err == nil {
			if _, err = p.fetchDiscovery(); err == nil {
				x.Skew, err = skewOf(ctx, p.client, strings.TrimSuffix(c.Issuer, "/")+"/.well-known/openid-configuration")
			}
			p.client.CloseIdleConnections()
		}
		x.Err = err
		list = append(list, x)
	}
	if c := o.GitHub; c != nil {
		x := Examination{Method: "github"}
		client, err := newClient("auth.github", c.CAFile, log)
		if err == nil {
			place := c.URL
			if place == "" {
				place = "https://github.com"
			}
			x.Skew, err = skewOf(ctx, client, place)
			client.CloseIdleConnections()
		}
		x.Err = err
		list = append(list, x)
	}
	return list
}

// skewOf returns by how much the clock of the server is ahead, or why it does not answer.
func skewOf(ctx context.Context, client *http.Client, place string) (time.Duration, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body) // bounded by the client
	if resp.StatusCode >= http.StatusInternalServerError {
		return 0, fmt.Errorf("%s answers %s", place, resp.Status)
	}
	at, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0, nil // it does not say
	}
	return time.Until(at).Round(time.Second), nil
}
