package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

const tokenLife = time.Hour

// authority serves the Microsoft Entra part: discovery and the token endpoint of the
// client-credentials flow (RFC 6749, section 4.4), with a secret or an assertion (RFC
// 7523). It reports whether it has handled the request.
func (f *fake) authority(w http.ResponseWriter, r *http.Request) bool {
	base, ok := strings.CutPrefix(r.URL.Path, "/"+tenant)
	if !ok {
		return false
	}
	switch base {
	case "/v2.0/.well-known/openid-configuration":
		writeJSON(w, http.StatusOK, map[string]any{
			"issuer": f.url + "/" + tenant + "/v2.0", "token_endpoint": f.url + "/" + tenant + "/oauth2/v2.0/token",
			"authorization_endpoint": f.url + "/" + tenant + "/oauth2/v2.0/authorize",
		})
	case "/oauth2/v2.0/token":
		f.token(w, r)
	default:
		http.NotFound(w, r)
	}
	return true
}

func (f *fake) token(w http.ResponseWriter, r *http.Request) {
	assertion := r.PostFormValue("client_assertion")
	if r.PostFormValue("client_id") != clientID || assertion == "" && r.PostFormValue("client_secret") != f.options.secret {
		writeJSON(w, http.StatusUnauthorized, map[string]any{
			"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided.",
			"error_codes": []int{7000215}, "correlation_id": uuid.NewString(),
		})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"token_type": "Bearer", "expires_in": int(tokenLife.Seconds()), "access_token": f.issue(),
	})
}

// identity answers as a managed identity's endpoint does.
func (f *fake) identity(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Identity-Header") == "" {
		http.Error(w, "X-Identity-Header is missing", http.StatusBadRequest)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"token_type": "Bearer", "resource": r.URL.Query().Get("resource"), "access_token": f.issue(),
		"expires_on": strconv.FormatInt(time.Now().Add(tokenLife).Unix(), 10),
	})
}

// issue makes a token that this Azure Resource Manager accepts. Its form is easy to search
// for.
func (f *fake) issue() string {
	token := fmt.Sprintf("fake-token-%s", uuid.NewString())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens[token] = true
	return token
}
