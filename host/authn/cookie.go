package authn

import (
	"net/http"
	"net/url"
	"time"
)

// cookie is the cookie that holds the token. Its name and attributes depend on the
// public URL only, never on the request.
type cookie struct {
	name   string
	secure bool
}

// cookieFor uses the __Host- prefix (RFC 6265bis, section 4.1.3.2) where
// browsers accept it, which is https.
func cookieFor(public *url.URL) cookie {
	if public.Scheme == "https" {
		return cookie{name: "__Host-bulkhead", secure: true}
	}
	return cookie{name: "bulkhead"}
}

// read returns the cookie's value, or "" if there is none or there are two with
// different values: another site of the domain may have planted one with a longer
// path.
func (c cookie) read(r *http.Request) string {
	if len(r.Header["Cookie"]) == 0 {
		return ""
	}
	found := r.CookiesNamed(c.name)
	for _, other := range found {
		if other.Value != found[0].Value {
			return ""
		}
	}
	if len(found) == 0 {
		return ""
	}
	return found[0].Value
}

// set sets the cookie for the lifetime of the login, so that a browser can sign out
// after the token has expired.
func (c cookie) set(w http.ResponseWriter, token string, until time.Time) {
	c.write(w, token, max(1, int(time.Until(until).Seconds())))
}

func (c cookie) clear(w http.ResponseWriter) { c.write(w, "", -1) }

// write sets the attributes for set and clear, because a browser deletes a cookie
// only if the attributes are the same.
func (c cookie) write(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: c.name, Value: value, Path: "/", MaxAge: maxAge,
		Secure: c.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}
