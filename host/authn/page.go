package authn

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"net/url"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

//go:embed page.html
var pageFile embed.FS

var pageTemplate = template.Must(template.ParseFS(pageFile, "page.html"))

// pageData is what the sign-in page shows.
type pageData struct {
	Nonce       string
	Who         *host.Principal // nil if not signed in
	Methods     []pageMethod
	Dev         bool
	Proxy       string // method that signs in without this page: proxy, disabled
	Redirect    string
	Error       string
	Code        string
	Description string
}

type pageMethod struct{ Name, URL string }

// errorTexts explain the codes of /login?error= to the user.
var errorTexts = map[string]string{
	"access_denied":            "You did not allow the sign-in.",
	"provider_error":           "The identity provider reported a problem.",
	"provider_unavailable":     "The identity provider cannot be reached. Try again in a moment.",
	"missing_code":             "The identity provider's answer was incomplete. Try again.",
	"csrf_validation_failed":   "This sign-in was not started in this browser, took too long, or was used before. Try again.",
	"oauth_state_store_failed": "Sign-in is not possible at the moment. Try again shortly.",
	"temporarily_unavailable":  "Sign-in is not possible at the moment. Try again shortly.",
	"network_error":            "The identity provider does not answer. Try again in a moment.",
	"invalid_client":           "The identity provider does not know this console. Ask its operator to correct the client id or secret.",
	"redirect_mismatch":        "The identity provider does not know this console's address. Ask its operator to register the callback URL.",
	"exchange_failed":          "The identity provider did not confirm the sign-in. Try again.",
	"user_fetch_failed":        "The identity provider did not say who you are.",
	"not_allowed":              "You signed in at the identity provider, but are not allowed to use this console.",
	"too_many_groups":          "You are in more groups than this console accepts. Ask its operator to have the provider send fewer.",
}

// Page handles GET /login. It shows the login methods and why the last attempt
// failed; to a signed-in user, their name and how to sign out. It has one inline
// script and loads nothing.
func (s *Service) Page(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	redirect, ok := localPath(query.Get("redirect"))
	if !ok {
		redirect = "/"
	}
	d := pageData{Nonce: newNonce(), Dev: s.Options.Dev != nil, Redirect: redirect, Code: query.Get("error")}
	if s.proxy != nil {
		d.Proxy = s.proxy.method
	}
	if d.Code != "" {
		if d.Error = errorTexts[d.Code]; d.Error == "" {
			d.Error, d.Code = "The sign-in failed.", ""
		}
		d.Description = text.ASCII(query.Get("error_description"), maxShown)
	}
	if p, err := s.Resolve(r); err == nil {
		d.Who = p.Principal
	}
	for name := range s.providers {
		d.Methods = append(d.Methods, pageMethod{name, "/auth/login?" + url.Values{"method": {name}, "redirect": {redirect}}.Encode()})
	}
	slices.SortFunc(d.Methods, func(a, b pageMethod) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return writePage(w, "authn.page", pageTemplate, d.Nonce, d)
}

// writePage writes a page that loads nothing, runs only the scripts with nonce, and is
// shown in no frame. op names the caller in an error.
func writePage(w http.ResponseWriter, op string, t *template.Template, nonce string, data any) error {
	var page bytes.Buffer
	if err := t.Execute(&page, data); err != nil {
		return &host.Error{Kind: host.Internal, Op: op, Err: err}
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+nonce+"'; style-src 'nonce-"+nonce+
		"'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(page.Bytes())
	return nil
}

func newNonce() string { return string(newLoginID()) }
