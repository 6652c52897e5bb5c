package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/oauth2"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// githubProvider is GitHub's OAuth app flow. GitHub issues no ID token, so who
// it is comes from its API, asked with the token that the code was exchanged
// for, which is then forgotten.
type githubProvider struct {
	GitHub
	mapping Mapping
	oauth   oauth2.Config
	web     string // also the issuer
	api     string
	client  *http.Client
}

func newGitHub(c GitHub, public *url.URL) (*githubProvider, error) {
	secret, err := c.Secret.read("auth.github")
	if err != nil {
		return nil, err
	}
	g := &githubProvider{GitHub: c, web: strings.TrimSuffix(c.URL, "/")}
	if g.client, err = newClient("auth.github", c.CAFile); err != nil {
		return nil, err
	}
	if g.web == "" {
		g.web = "https://github.com"
	}
	g.api = g.web + "/api/v3"
	if g.web == "https://github.com" {
		g.api = "https://api.github.com"
	}
	if g.User == "" {
		g.User = "id"
		if len(c.IDDomains) > 0 {
			g.User = "email"
		}
	}
	g.mapping = Mapping{
		User: "user", IDDomains: c.IDDomains, Teams: groupsClaim, Map: c.Map, Unlisted: c.Unlisted,
	}
	scopes := []string{"read:user"}
	if g.User == "email" {
		scopes = append(scopes, "user:email")
	}
	if len(c.Organizations) > 0 {
		scopes = append(scopes, "read:org")
	}
	g.oauth = oauth2.Config{
		ClientID: c.ClientID, ClientSecret: secret, RedirectURL: callbackURL(public, methodGitHub), Scopes: scopes,
		Endpoint: oauth2.Endpoint{
			AuthURL: g.web + "/login/oauth/authorize", TokenURL: g.web + "/login/oauth/access_token", AuthStyle: oauth2.AuthStyleInParams,
		},
	}
	return g, nil
}

func (g *githubProvider) asserted(claims map[string]any) host.Membership {
	return g.mapping.asserted(claims)
}

func (g *githubProvider) unlisted() bool { return g.mapping.unlisted() }

func (g *githubProvider) issuer(context.Context) (string, bool, error) { return g.web, false, nil }

func (g *githubProvider) begin(_ context.Context, state string, once secrets) (string, error) {
	return g.oauth.AuthCodeURL(state, oauth2.S256ChallengeOption(once.verifier)), nil
}

func (g *githubProvider) finish(ctx context.Context, code string, once secrets) (Identity, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, g.client)
	tokens, err := g.oauth.Exchange(ctx, code, oauth2.VerifierOption(once.verifier))
	if err != nil {
		return Identity{}, err
	}
	ask := func(path string, into any) error { return g.get(ctx, tokens.AccessToken, path, into) }
	var user struct {
		ID          int64
		Login, Name string
	}
	if err := ask("/user", &user); err != nil {
		return Identity{}, err
	}
	if user.ID <= 0 || user.Login == "" {
		return Identity{}, unreadable{errors.New("GitHub did not say who it is")}
	}
	claims := map[string]any{"login": user.Login}
	switch g.User {
	case "id":
		claims["user"] = strconv.FormatInt(user.ID, 10)
	case "login":
		claims["user"] = strings.ToLower(user.Login)
	case "email":
		address, err := primaryEmail(ask)
		if err != nil {
			return Identity{}, err
		}
		claims["user"], claims["email"], claims["email_verified"] = address, address, true
	}
	if len(g.Organizations) > 0 {
		groups, err := g.memberships(ask)
		if err != nil {
			return Identity{}, err
		}
		claims[groupsClaim] = groups
	}
	id, err := g.mapping.userID(methodGitHub, claims)
	if err != nil {
		return Identity{}, err
	}
	return Identity{
		Issuer: g.web, Subject: strconv.FormatInt(user.ID, 10), User: id, Method: methodGitHub,
		Name: printableName(user.Name), Claims: g.mapping.kept(claims), Source: "GitHub's " + g.User,
	}, nil
}

func primaryEmail(ask func(string, any) error) (string, error) {
	var emails []struct {
		Email             string
		Primary, Verified bool
	}
	if err := ask("/user/emails", &emails); err != nil {
		return "", err
	}
	for _, e := range emails {
		if e.Primary && e.Verified {
			return e.Email, nil
		}
	}
	return "", refuse("GitHub's /user/emails", len(emails), "addresses are listed, and none is primary and verified")
}

// maxPages bounds how many teams are read, 100 a page.
const maxPages = 5

// memberships returns the organizations and teams, of those listed, that
// somebody belongs to: "ORG" and "ORG/TEAM". Nobody who belongs to none gets in.
func (g *githubProvider) memberships(ask func(string, any) error) ([]any, error) {
	var groups []any
	listed := map[string]string{}
	for _, org := range g.Organizations {
		var m struct{ State string }
		err := ask("/user/memberships/orgs/"+url.PathEscape(org), &m)
		if e, ok := errors.AsType[apiError](err); ok && (e.status == http.StatusNotFound || e.status == http.StatusForbidden) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if m.State == "active" {
			listed[strings.ToLower(org)] = org
			groups = append(groups, org)
		}
	}
	if len(groups) == 0 {
		return nil, refuse("GitHub's memberships", nil, "of the account: it is an active member of none of auth.github.organizations, %q", g.Organizations)
	}
	for page := 1; page <= maxPages; page++ {
		var teams []struct {
			Slug         string
			Organization struct{ Login string }
		}
		if err := ask("/user/teams?per_page=100&page="+strconv.Itoa(page), &teams); err != nil {
			return nil, err
		}
		for _, t := range teams {
			if org, ok := listed[strings.ToLower(t.Organization.Login)]; ok {
				groups = append(groups, org+"/"+t.Slug)
			}
		}
		if len(teams) < 100 {
			break
		}
	}
	return groups, nil
}

type apiError struct {
	path   string
	status int
}

func (e apiError) Error() string { return fmt.Sprintf("GitHub answers %s with %d", e.path, e.status) }

func (g *githubProvider) get(ctx context.Context, token, path string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.api+path, nil)
	if err != nil {
		return unreadable{err}
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/vnd.github+json")
	resp, err := g.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return unreadable{apiError{path, resp.StatusCode}}
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return unreadable{fmt.Errorf("GitHub's answer to %s: %w", path, err)}
	}
	return nil
}
