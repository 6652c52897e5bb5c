package authn

import (
	"net/http"
	"net/url"
	"time"
)

// cookie is how browsers carry the token. Name and attributes follow from the
// public URL alone, never from what a request says about itself.
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

// read returns the cookie's value, empty if there is none. Two with different
// values are none, since it is not clear which was meant: one may have been
// planted for a longer path.
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

// set keeps the cookie for as long as the login may last, so that a browser
// still has it to sign out with when the token has expired.
func (c cookie) set(w http.ResponseWriter, token string, until time.Time) {
	c.write(w, token, max(1, int(time.Until(until).Seconds())))
}

func (c cookie) clear(w http.ResponseWriter) { c.write(w, "", -1) }

// write is the one place for the attributes: a browser deletes a cookie only
// if they are those it was set with.
func (c cookie) write(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: c.name, Value: value, Path: "/", MaxAge: maxAge,
		Secure: c.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}
