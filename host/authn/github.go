package authn

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/oauth2"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/follow"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

// githubProvider is GitHub's OAuth app flow. GitHub issues no ID token, so the
// identity comes from its API. The access token is used for these calls only and
// is not kept.
type githubProvider struct {
	GitHub
	mapping Mapping
	oauth   oauth2.Config
	log     *slog.Logger
	web     string // also the issuer of identities
	api     string
	client  *http.Client
	secret  *follow.Value[string]
}

func newGitHub(c GitHub, public *url.URL, log *slog.Logger) (*githubProvider, error) {
	secret, err := c.Secret.follow("auth.github", log)
	if err != nil {
		return nil, err
	}
	g := &githubProvider{GitHub: c, log: log, secret: secret}
	g.web, g.api = githubURLs(c.URL)
	if g.client, err = newClient("auth.github", c.CAFile, log); err != nil {
		return nil, err
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
		ClientID: c.ClientID, RedirectURL: callbackURL(public, methodGitHub), Scopes: scopes,
		Endpoint: oauth2.Endpoint{
			AuthURL: g.web + "/login/oauth/authorize", TokenURL: g.web + "/login/oauth/access_token", AuthStyle: oauth2.AuthStyleInParams,
		},
	}
	return g, nil
}

// githubURLs returns the URLs of the sign-in pages and of the API: github.com,
// GitHub Enterprise Cloud with data residency (TENANT.ghe.com), or an Enterprise
// server, which has both on one host.
func githubURLs(configured string) (web, api string) {
	u, err := url.Parse(cmp.Or(configured, "https://github.com"))
	if err != nil {
		return configured, configured // Options.Check refuses it
	}
	u.Host, u.Path = strings.ToLower(u.Host), strings.TrimSuffix(u.Path, "/")
	web = u.String()
	switch hostname := u.Hostname(); {
	case hostname == "github.com" || hostname == "www.github.com":
		return "https://github.com", "https://api.github.com"
	case strings.HasSuffix(hostname, ".ghe.com"):
		u.Host = "api." + u.Host
		return web, u.String()
	}
	return web, web + "/api/v3"
}

func (g *githubProvider) asserted(claims map[string]any) host.Membership {
	return g.mapping.asserted(claims)
}

func (g *githubProvider) unlisted() bool { return g.mapping.unlisted() }

// issuer is the "iss" that GitHub sends since 2026; older Enterprise servers send
// none.
func (g *githubProvider) issuer(context.Context) (string, bool, error) {
	return g.web + "/login/oauth", false, nil
}

func (g *githubProvider) begin(_ context.Context, state string, once secrets) (string, error) {
	return g.oauth.AuthCodeURL(state, oauth2.S256ChallengeOption(once.verifier)), nil
}

func (g *githubProvider) finish(ctx context.Context, code string, once secrets) (Identity, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, g.client)
	tokens, err := withSecret(g.oauth, g.secret).Exchange(ctx, code, oauth2.VerifierOption(once.verifier))
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
		return Identity{}, unreadable{errors.New("GitHub's answer to /user has no id or no login")}
	}
	claims := map[string]any{"login": user.Login}
	switch g.User {
	case "id":
		claims["user"] = strconv.FormatInt(user.ID, 10)
	case "login":
		claims["user"] = user.Login
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
		Name: text.Line(user.Name, maxDisplayName), Claims: g.mapping.kept(claims), Source: "GitHub's " + g.User,
	}, nil
}

func primaryEmail(ask func(string, any) error) (string, error) {
	var emails []struct {
		Email             string
		Primary, Verified bool
	}
	if err := ask("/user/emails?per_page=100", &emails); err != nil {
		return "", err
	}
	for _, e := range emails {
		if e.Primary && e.Verified {
			return e.Email, nil
		}
	}
	return "", refuse("GitHub's /user/emails", len(emails), "addresses are listed, but the primary one is not verified")
}

// maxPages bounds how many teams are read, 100 a page.
const maxPages = 5

// memberships returns the account's memberships in the configured organizations:
// "ORG" and "ORG/TEAM". An account without any is refused. Only 404 means that the
// account is not a member. An organization that answers 403 hides its memberships:
// it is skipped, and the others count.
func (g *githubProvider) memberships(ask func(string, any) error) ([]any, error) {
	var groups []any
	listed := map[string]string{}
	var hidden error
	for _, org := range g.Organizations {
		var m struct{ State string }
		err := ask("/user/memberships/orgs/"+url.PathEscape(org), &m)
		switch e, _ := errors.AsType[apiError](err); {
		case err == nil:
		case e.status == http.StatusNotFound:
			continue
		case e.status == http.StatusForbidden && !e.busy:
			hidden = err
			g.log.Warn("a GitHub organization does not let the OAuth app see memberships; membership in it does not count",
				"organization", org, "error", err)
			continue
		default:
			return nil, err
		}
		if m.State == "active" {
			listed[strings.ToLower(org)] = org
			groups = append(groups, org)
		}
	}
	if len(groups) == 0 && hidden != nil {
		return nil, hidden
	}
	if len(groups) == 0 {
		return nil, refuse("GitHub's memberships", nil, "do not include one of auth.github.organizations, %q, as an active member", g.Organizations)
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
			return groups, nil
		}
	}
	return nil, host.E(host.TooLarge, "authn.github", "the account is in more than %d teams, the most that are read", maxPages*100)
}

// apiError is an API answer other than 200.
type apiError struct {
	path    string
	status  int
	message string // GitHub's own
	busy    bool   // overloaded or rate-limited: try again later
}

func (e apiError) Error() string {
	return fmt.Sprintf("GitHub answers %s with %d %s", e.path, e.status, e.message)
}

// apiFailure reads an answer that is not 200. GitHub limits rates with 403 too
// (primary limits by X-RateLimit-Remaining, secondary ones by Retry-After).
func apiFailure(path string, resp *http.Response) error {
	var body struct{ Message string }
	_ = json.NewDecoder(resp.Body).Decode(&body) // the body may not be JSON
	e := apiError{path: path, status: resp.StatusCode, message: text.ASCII(body.Message, maxShown)}
	limited := resp.Header.Get("X-Ratelimit-Remaining") == "0" || resp.Header.Get("Retry-After") != "" ||
		strings.Contains(strings.ToLower(body.Message), "rate limit")
	if e.busy = isBusy(e.status) || e.status == http.StatusForbidden && limited; e.busy {
		return busy{e}
	}
	return unreadable{e}
}

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
		return apiFailure(path, resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return unreadable{fmt.Errorf("GitHub's answer to %s: %w", path, err)}
	}
	return nil
}
