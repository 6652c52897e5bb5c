package authn

import (
	"net"
	"net/http"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// Login handles POST /auth/login {"user": ID}, the dev login method: it signs in
// any user of the directory without proof, on a loopback listener only. It sets the
// cookie, answers like Me, and ends the browser's previous login.
func (s *Service) Login(w http.ResponseWriter, r *http.Request) error {
	// A unix socket or no address at all is not loopback.
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if s.Options.Dev == nil || !ok || !local.IP.IsLoopback() {
		return host.E(host.NotFound, "authn.login", "dev sign-in is not available: it needs auth.dev and a loopback connection")
	}
	if err := s.CheckSite(r); err != nil {
		return err
	}
	if !isJSON(r) {
		return host.E(host.Invalid, "authn.login", "Content-Type: must be application/json")
	}
	var body struct {
		User host.UserID `json:"user"`
	}
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	if body.User == "" {
		return host.E(host.Invalid, "authn.login", "body: user is required")
	}
	raw, p, err := s.Issue(r.Context(), Identity{
		Issuer: methodDev, Subject: string(body.User), User: body.User, Method: methodDev, Source: "user", Remote: s.RemoteAddr(r),
	})
	if err != nil {
		s.report(r, "sign-in refused", methodDev, err)
		return err
	}
	if err := s.endPrevious(r); err != nil {
		return err
	}
	s.log.Info("signed in", "user", string(p.User), "method", p.Login.Method)
	s.cookie.set(w, raw, p.Login.Until)
	return writeJSON(w, describe(p))
}
