package devhost

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// UserHeader names the user of a request without a login.
const UserHeader = "X-Dev-User"

// loginTime is how long a login is used; the host ends an idle one after some more.
const loginTime = 10 * time.Minute

// logins are the cookies of users that this tool has signed in.
type logins struct {
	host *Host
	mu   sync.Mutex
	by   map[string]login
}

type login struct {
	cookies []*http.Cookie
	at      time.Time
}

// signIn adds the login of a user to a request that has none, as a browser would have it.
// What another site's page makes the browser send gets none.
func (l *logins) signIn(r *http.Request) error {
	user := r.Header.Get(UserHeader)
	if user == "" {
		user = l.host.options.User
	}
	r.Header.Del(UserHeader)
	if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" || r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		return nil
	}
	cookies, err := l.of(r.Context(), user)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return err
}

func (l *logins) of(ctx context.Context, user string) ([]*http.Cookie, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old, ok := l.by[user]; ok && time.Since(old.at) < loginTime {
		return old.cookies, nil
	}
	body, err := json.Marshal(map[string]string{"user": user})
	if err != nil {
		return nil, err
	}
	local := context.WithValue(ctx, http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	r := httptest.NewRequestWithContext(local, http.MethodPost, l.host.URL()+"/auth/login", strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json")
	r.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	l.host.server.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		return nil, fmt.Errorf("the host does not sign in %s: %d %s", user, w.Code, strings.TrimSpace(w.Body.String()))
	}
	if l.by == nil {
		l.by = map[string]login{}
	}
	l.by[user] = login{w.Result().Cookies(), time.Now()}
	return l.by[user].cookies, nil
}

// forget makes the next request of each user sign in again.
func (l *logins) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.by)
}
